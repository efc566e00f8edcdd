package cli_test

import (
	"fmt"
	"strings"
)

// Further layouts of well-known collections: lists of their own form, names of files that say
// classes, and folders that are easily taken for classes.
func init() { layouts = append(layouts, knownLayouts...) }

// carClasses are those of the small lists of Stanford Cars.
var carClasses = []string{"AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo Convertible 2012"}

// carParts writes the images of the devkit's lists.
func (b *builder) carParts(train, test string) {
	for i := range 9 {
		b.photo(fmt.Sprintf(train+"/%05d.jpg", i+1), three[i%3])
	}
	for i := range 3 {
		b.photo(fmt.Sprintf(test+"/%05d.jpg", i+1), three[2-i])
	}
}

// dogs writes the images of the small lists of Stanford Dogs, and boxes for them.
func (b *builder) dogs() {
	for n, breed := range []string{"n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02099267-flat-coated_retriever"} {
		id, name, _ := strings.Cut(breed, "-")
		for i := range 4 {
			b.photo(fmt.Sprintf("Images/%s/%s_%d.jpg", breed, id, i), three[n])
			b.write(fmt.Sprintf("Annotation/%s/%s_%d", breed, id, i), fmt.Sprintf("<annotation><filename>%%s</filename><size><width>40</width><height>40</height></size><object><name>%s</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>", name))
		}
	}
}

// openImages writes labels that people verified: an image has one or two, and one that isn't there.
func (b *builder) openImages(part string, n int) {
	text := "ImageID,Source,LabelName,Confidence\n"
	for i := range n {
		id := fmt.Sprintf("%016x", 4096*len(part)+i)
		b.photo(part+"/"+id+".jpg", three[i%3])
		text += fmt.Sprintf("%s,verification,/m/0%d,1\n%[1]s,verification,/m/0%[3]d,0\n", id, i%3, (i+1)%3)
		if i%3 == 0 {
			text += fmt.Sprintf("%s,crowdsource-verification,/m/00,1\n%[1]s,verification,/m/02,1\n", id)
		}
	}
	b.write(part+"-annotations-human-imagelabels.csv", text)
}

// omniglot writes characters of alphabets.
func (b *builder) omniglot(folder string, alphabets ...string) {
	for _, a := range alphabets {
		for c := range 2 {
			for i := range 2 {
				b.photo(fmt.Sprintf("%s/%s/character%02d/%d_%d.png", folder, a, c+1, c, i), three[c])
			}
		}
	}
}

// market writes pictures of persons by cameras.
func (b *builder) market(folder string, persons ...string) {
	for _, p := range persons {
		for i := range 3 {
			b.photo(fmt.Sprintf("%s/%s_c%ds1_%06d_03.jpg", folder, p, i+1, 451+i), three[i])
		}
	}
}

var knownLayouts = []layout{
	{
		name: collected + "MAT-files: Stanford Cars in one",
		build: func(b *builder) {
			for i := range 12 {
				b.photo(fmt.Sprintf("car_ims/%06d.jpg", i+1), three[i%3])
			}
			b.copyTree("../../dataset/testdata/cars/whole")
		},
		classes: classes(3, carClasses...), parts: map[string]int{"train": 9, "test": 3}, ordered: true,
	},
	{
		name: collected + "MAT-files: Stanford Cars' devkit, without the test images' labels",
		build: func(b *builder) {
			b.carParts("cars_train", "cars_test")
			b.copyTree("../../dataset/testdata/cars/devkit")
		},
		classes: classes(3, carClasses...), parts: map[string]int{"train": 9}, ordered: true,
	},
	{
		gallery: "Lists as MAT-files",
		name:    collected + "MAT-files: Stanford Cars' devkit, folders in folders",
		build: func(b *builder) {
			b.carParts("cars_train/cars_train", "cars_test/cars_test")
			b.copyTree("../../dataset/testdata/cars/devkit")
			b.copyTree("../../dataset/testdata/cars/labels")
		},
		classes: classes(3, carClasses...), parts: map[string]int{"train": 9, "test": 3}, ordered: true,
	},
	{
		name:    collected + "MAT-files: Stanford Dogs",
		build:   func(b *builder) { b.dogs(); b.copyTree("../../dataset/testdata/dogs") },
		classes: classes(3, "Chihuahua", "Japanese_spaniel", "flat-coated_retriever"), parts: map[string]int{"train": 9, "test": 3}, ordered: true,
	},
	{
		name:    collected + "boxes in files without extension: Stanford Dogs without lists",
		build:   func(b *builder) { b.dogs() },
		classes: classes(4, "Chihuahua", "Japanese_spaniel", "flat-coated_retriever"), parts: all(12),
	},
	{
		gallery: "A table of classes and lists of the parts",
		name:    collected + "lists of the parts beside the table: NIH's chest X-rays",
		build: func(b *builder) {
			text, train, test := "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age\n", "", ""
			for i, r := range b.rows("images_001/images/%08d_000.png", 4) {
				text += fmt.Sprintf("%s.png,%s,%d,%d,%d\n", r.id, []string{"Cardiomegaly|Emphysema", "Cardiomegaly", "No Finding"}[r.class], i%2, i/2, 50+i%5)
				if i < 9 {
					train += r.id + ".png\n"
				} else {
					test += r.id + ".png\n"
				}
			}
			b.write("Data_Entry_2017.csv", text)
			b.write("train_val_list.txt", train)
			b.write("test_list.txt", test)
			b.write("BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000000_000.png,Cardiomegaly,5,5,10,12,,,\n")
		},
		classes: map[string]int{"Cardiomegaly": 6, "Emphysema": 3}, parts: map[string]int{"train": 9, "test": 3},
	},
	{
		name: collected + "lists of the parts that contradict each other",
		build: func(b *builder) {
			b.table("labels.tsv", "id\tdiagnosis", b.rows("images/%d.png", 2), func(_ int, r row) string { return r.id + "\t" + three[r.class] })
			b.write("train_list.txt", "0.png\n1.png\n2.png\n3.png\n")
			b.write("test_list.txt", "3.png\n4.png\n5.png\n")
		},
		refused: "images/3.png is in ",
	},
	{
		gallery: "Several labels an image, in a row each",
		name:    collected + "verified labels, some that aren't there: Open Images",
		build: func(b *builder) {
			b.openImages("train", 9)
			b.openImages("validation", 3)
			b.write("class-descriptions.csv", "/m/00,Bonsai\n/m/01,Ketch\n/m/02,Watch\n")
		},
		classes: map[string]int{"/m/00": 3, "/m/01": 3, "/m/02": 6}, parts: map[string]int{"train": 9, "val": 3},
	},
	{
		name: collected + "a row for each label, asked for",
		build: func(b *builder) {
			text := "image,label\n"
			for _, r := range b.rows("images/%d.jpg", 3) {
				text += fmt.Sprintf("%s.jpg,%s\n%[1]s.jpg,photo\n", r.id, three[r.class])
			}
			b.write("tags.csv", text)
		},
		refused: "want one class an image, or several labels an image: --columns image=image,label=label:rows",
	},
	{
		gallery: "Classes in the names of one folder",
		name:    collected + "classes in the names of one folder: the weather data set",
		build:   func(b *builder) { b.folders("dataset2/%s%d.jpg", 3) },
		refused: "--label-pattern '{label}#.*' (3 classes: bonsai, ketch, watch) or --layout folders (the only class is dataset2)",
	},
	{
		name:    collected + "objects in the names: COIL-100",
		build:   func(b *builder) { b.flat("coil-100/obj1__%d.png", 4); b.flat("coil-100/obj12__%d.png", 4) },
		refused: "--label-pattern '{label}__#.*' (2 classes: obj1, obj12)",
	},
	{
		name:    collected + "objects in the names, as the flag says",
		build:   func(b *builder) { b.flat("coil-100/obj1__%d.png", 4); b.flat("coil-100/obj12__%d.png", 4) },
		flags:   []string{"--label-pattern", "{label}__#.*"},
		classes: classes(4, "obj1", "obj12"), parts: all(8),
	},
	{
		name: collected + "ages, genders and ethnic groups in the names: UTKFace",
		build: func(b *builder) {
			for i := range 8 {
				b.photo(fmt.Sprintf("UTKFace/%d_%d_%d_2017010%d.jpg.chip.jpg", 20+i%4, i%2, i/2%2, i), three[i%2])
			}
		},
		refused: "--label-pattern '#_{label}_*' (the classes are genders: 0, 1) or --label-pattern '#_#_{label}_*' (the classes are ethnic groups: 0, 1) or --label-pattern '{label}_*' (the classes are ages: 20, 21, 22, 23)",
	},
	{
		name:    collected + "characters of alphabets: Omniglot",
		build:   func(b *builder) { b.omniglot("images_background", "Greek", "Tifinagh") },
		refused: `--label-pattern '**/{label}/*' (the classes are character01, character02) or --label-pattern '(?P<label>.+)/[^/]+' (the classes are pairs, such as Greek/character01)`,
	},
	{
		name:    collected + "characters of alphabets, as the flag says",
		build:   func(b *builder) { b.omniglot("images_background", "Greek", "Tifinagh") },
		flags:   []string{"--label-pattern", `(?P<label>.+)/[^/]+`},
		classes: classes(2, "Greek/character01", "Greek/character02", "Tifinagh/character01", "Tifinagh/character02"), parts: all(8),
	},
	{
		name: collected + "characters of other alphabets beside them: Omniglot",
		build: func(b *builder) {
			b.omniglot("images_background", "Greek", "Tifinagh")
			b.omniglot("images_evaluation", "Tengwar", "Sylheti")
		},
		refused: `images_background --label-pattern '(?P<label>.+)/[^/]+' (of images_background alone, the classes are pairs, such as Greek/character01)`,
	},
	{
		name: collected + "persons in the names: Market-1501",
		build: func(b *builder) {
			b.market("Market-1501/bounding_box_train", "0002", "0007")
			b.market("Market-1501/bounding_box_test", "-1", "0003")
			b.market("Market-1501/query", "0003")
		},
		refused: `bounding_box_train --label-pattern '{label}_c#s#_*' (the classes are persons: 0002, 0007)`,
	},
	{
		name: collected + "cities and masks: Cityscapes",
		build: func(b *builder) {
			for _, part := range []string{"train", "val"} {
				for _, city := range []string{"aachen", "bochum"} {
					b.flat("leftImg8bit/"+part+"/"+city+"/"+city+"_%06d_000019_leftImg8bit.png", 2)
					b.flat("gtFine/"+part+"/"+city+"/"+city+"_%06d_000019_gtFine_color.png", 2)
				}
			}
		},
		refused: "the folders are the cities of Cityscapes, whose labels are of pixels",
	},
	{
		name: collected + "a copy in the folder itself and a table of boxes: the Simpsons",
		build: func(b *builder) {
			b.folders("simpsons_dataset/%s/pic_%04d.jpg", 3)
			b.folders("simpsons_dataset/simpsons_dataset/%s/pic_%04d.jpg", 3)
			b.folders("kaggle_simpson_testset/kaggle_simpson_testset/%s_%d.jpg", 1)
			text := ""
			for _, c := range three {
				text += fmt.Sprintf("./characters/%s/pic_0000.jpg,2,3,30,31,%[1]s\n./characters/%[1]s/pic_0001.jpg,2,3,30,31,%[1]s\n", c)
			}
			b.write("annotation.txt", text)
			b.write("number_pic_char.csv", "name,total,train,test,bounding_box\nbonsai,3,2,1,1\nketch,3,2,1,1\n")
		},
		classes: each(3), parts: map[string]int{"train": 9, "test": 3, "simpsons_dataset": 9},
	},
	{
		name: collected + "a copy in a folder beside it: natural images",
		build: func(b *builder) {
			b.folders("natural_images/%s/%d.jpg", 4)
			b.folders("data/natural_images/%s/%d.jpg", 4)
		},
		classes: each(4), parts: map[string]int{"all": 12, "data": 12},
	},
	{
		gallery: "Test images without labels",
		name:    collected + "flat test_images beside the class folders",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.flat("test_images/%d.jpg", 3) },
		classes: each(4), parts: map[string]int{"train": 12, "test": 3},
	},
	{
		name: collected + "flat test_images beside a table of the training part",
		build: func(b *builder) {
			b.table("train/labels.csv", "id,label", b.rows("train/%d.jpg", 4), named)
			b.flat("test_images/%d.jpg", 3)
		},
		classes: each(4), parts: map[string]int{"train": 12},
	},
	{
		name: collected + "letters of the names as folders and a table of addresses: Google Landmarks",
		build: func(b *builder) {
			text := "id,url,landmark_id\n"
			for i := range 12 {
				id := fmt.Sprintf("%x%x%014x", i, 15-i, i)
				b.photo(fmt.Sprintf("%c/%c/%c/%s.jpg", id[0], id[1], id[2], id), three[i%3])
				text += fmt.Sprintf("%s,http://upload.example.org/%d.jpg,%d\n", id, i, 1000*(i%3))
			}
			b.write("train.csv", text)
		},
		classes: classes(4, "0", "1000", "2000"), parts: map[string]int{"train": 12},
	},
	{
		name: collected + "parts called in two ways: iNaturalist 2021",
		build: func(b *builder) {
			b.folders("train_mini/%s/%d.jpg", 4)
			b.folders("val/%s/%d.jpg", 2)
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 6},
	},
	{
		name: collected + "lists under two lines of header: DeepFashion",
		build: func(b *builder) {
			images, parts := "9\nimage_name  category_label\n", "9\nimage_name  evaluation_status\n"
			for i := range 9 {
				f := fmt.Sprintf("img/Dress_%d/img_%08d.jpg", i, i)
				b.photo(f, three[i%3])
				images += fmt.Sprintf("%s    %d\n", f, i%3+1)
				parts += f + "  " + []string{"train", "val", "test"}[i/3] + "\n"
			}
			b.write("Anno/list_category_img.txt", images)
			b.write("Anno/list_category_cloth.txt", "3\ncategory_name  category_type\nAnorak  1\nBlazer  1\nBlouse  1\n")
			b.write("Eval/list_eval_partition.txt", parts)
		},
		classes: classes(1, "Anorak", "Blazer", "Blouse"), parts: map[string]int{"train": 3, "val": 3, "test": 3}, ordered: true,
	},
	{
		name: collected + "four words a line: COVIDx",
		build: func(b *builder) {
			for part, n := range map[string]int{"train": 9, "test": 6} {
				text := ""
				for i := range n {
					b.photo(fmt.Sprintf("%s/%[1]s%d.png", part, i), three[i%3])
					text += fmt.Sprintf("%d %s%[1]d.png %[3]s cohen\n", i, part, three[i%3])
				}
				b.write(part+".txt", text)
			}
		},
		classes: each(3), parts: map[string]int{"train": 9, "test": 6},
	},
	{
		name: collected + "annotations that aren't read: LabelMe",
		build: func(b *builder) {
			b.flat("%d.jpg", 3)
			b.write("0.json", `{"version": "5.0", "shapes": [{"label": "cat", "points": [[1, 1], [20, 30]], "shape_type": "rectangle"}], "imagePath": "0.jpg"}`)
		},
		refused: "0.json is an annotation of LabelMe, which isn't read: export them",
	},
	{
		name: collected + "annotations that aren't read: CVAT",
		build: func(b *builder) {
			b.flat("images/%d.jpg", 3)
			b.write("annotations.xml", `<?xml version="1.0"?><annotations><image id="0" name="0.jpg" width="40" height="40"><box label="cat" xtl="1" ytl="1" xbr="20" ybr="20"></box></image></annotations>`)
		},
		refused: "annotations.xml is annotations of CVAT, which isn't read: export them",
	},
}
