package cli_test

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// The layouts of tables: CSV and its like, JSON, Parquet, lists.
func init() {
	layouts = append(layouts, slices.Concat(competitionLayouts, columnLayouts, nameLayouts, partLayouts, listLayouts, recordLayouts, folderTableLayouts)...)
}

// row is an image of a table.
type row struct {
	id    string // the name without extension
	class int    // of three
}

// rows writes n photographs of each class by a pattern of their running numbers, and returns
// them in an order that mixes the classes.
func (b *builder) rows(pattern string, n int) (list []row) {
	for i := range n * len(three) {
		class := (i * 2) % len(three)
		name := fmt.Sprintf(pattern, i)
		b.photo(name, three[class])
		base := filepath.Base(name)
		list = append(list, row{strings.TrimSuffix(base, filepath.Ext(base)), class})
	}
	return list
}

// table writes a table of rows under a header.
func (b *builder) table(name, header string, list []row, line func(i int, r row) string) {
	text := ""
	if header != "" {
		text = header + "\n"
	}
	for i, r := range list {
		text += line(i, r) + "\n"
	}
	b.write(name, text)
}

// named is the line of an image's id and class's name.
func named(_ int, r row) string { return r.id + "," + three[r.class] }

// numbered is the line of an image's file and class's number.
func numbered(_ int, r row) string { return fmt.Sprintf("%s.jpg,%d", r.id, r.class) }

// copyTree copies a folder of fixtures.
func (b *builder) copyTree(from string) {
	b.t.Helper()
	err := fs.WalkDir(os.DirFS(from), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(from, p))
		b.write(p, string(data))
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// classes is the number of images of each class.
func classes(n int, names ...string) map[string]int {
	m := map[string]int{}
	for _, c := range names {
		m[c] = n
	}
	return m
}

// all is the parts of a collection without any.
func all(n int) map[string]int { return map[string]int{"all": n} }

// The layouts of well-known competitions and collections.
var competitionLayouts = []layout{
	{
		name: "train_images and train.csv, names of classes as JSON: cassava",
		build: func(b *builder) {
			b.table("train.csv", "image_id,label", b.rows("train_images/%d.jpg", 4), numbered)
			b.photo("test_images/2216849948.jpg", "watch")
			b.write("sample_submission.csv", "image_id,label\n2216849948.jpg,2\n")
			b.write("label_num_to_disease_map.json", `{"0": "bonsai", "1": "ketch", "2": "watch"}`)
		},
		classes: each(4), parts: map[string]int{"train": 12},
	},
	{
		name: "train and train_labels.csv: histopathologic",
		build: func(b *builder) {
			b.table("train_labels.csv", "id,label", b.rows("train/f38a%037x.png", 4), func(_ int, r row) string { return fmt.Sprintf("%s,%d", r.id, r.class%2) })
			b.flat("test/0b2e%d.png", 2)
			b.write("sample_submission.csv", "id,label\n0b2e0,0\n0b2e1,0\n")
		},
		classes: map[string]int{"0": 8, "1": 4}, parts: map[string]int{"train": 12},
	},
	{
		name: "labels.csv of id and breed beside train and test: dog breeds",
		build: func(b *builder) {
			b.table("labels.csv", "id,breed", b.rows("train/000bec180eb18c7604dcecc8fe0dba%02d.jpg", 4), named)
			b.flat("test/000621fb3cbb32d8935728e48679680%d.jpg", 2)
			b.write("sample_submission.csv", "id,affenpinscher\n0006210,0.5\n")
		},
		classes: each(4), parts: all(12),
	},
	{
		name: "two folders of images and metadata of several columns: HAM10000",
		build: func(b *builder) {
			first, second := b.rows("HAM10000_images_part_1/ISIC_00%05d.jpg", 2), []row{}
			for i := range 6 {
				b.photo(fmt.Sprintf("HAM10000_images_part_2/ISIC_01%05d.jpg", i), three[i%3])
				second = append(second, row{fmt.Sprintf("ISIC_01%05d", i), i % 3})
			}
			b.table("HAM10000_metadata.csv", "lesion_id,image_id,dx,dx_type,age,sex,localization", append(first, second...), func(i int, r row) string {
				return fmt.Sprintf("HAM_%07d,%s,%s,%s,%d.0,male,%s", i/2, r.id, three[r.class], []string{"histo", "consensus"}[i%2], 40+5*(i%4), []string{"back", "scalp"}[i%3/2])
			})
			b.write("hmnist_8_8_L.csv", "pixel0000,pixel0001,label\n169,171,2\n25,14,1\n")
		},
		classes: each(4), parts: all(12),
	},
	{
		name: "a column of 0 and 1 for each class: ISIC 2018",
		build: func(b *builder) {
			b.table("ISIC2018_Task3_Training_GroundTruth.csv", "image,bonsai,ketch,UNK,watch", b.rows("ISIC2018_Task3_Training_Input/ISIC_%07d.jpg", 4), func(_ int, r row) string {
				return r.id + []string{",1.0,0.0,0.0,0.0", ",0.0,1.0,0.0,0.0", ",0.0,0.0,0.0,1.0"}[r.class]
			})
		},
		classes: each(4), parts: map[string]int{"train": 12},
	},
	{
		name: "images, train.csv with columns of 0 and 1, test.csv without: plant pathology",
		build: func(b *builder) {
			list := b.rows("images/Train_%d.jpg", 4)
			b.table("train.csv", "image_id,bonsai,ketch,watch", list, func(_ int, r row) string { return r.id + []string{",1,0,0", ",0,1,0", ",0,0,1"}[r.class] })
			b.flat("images/Test_%d.jpg", 2)
			b.write("test.csv", "image_id\nTest_0\nTest_1\n")
			b.write("sample_submission.csv", "image_id,bonsai,ketch,watch\nTest_0,0.3,0.3,0.4\n")
		},
		classes: each(4), parts: map[string]int{"train": 12},
	},
	{
		name: "tags between blanks: Planet",
		build: func(b *builder) {
			b.table("train_v2.csv", "image_name,tags", b.rows("train-jpg/train_%d.jpg", 4), func(i int, r row) string {
				return r.id + "," + []string{"clear primary", "clear", "haze primary water"}[r.class]
			})
		},
		classes: map[string]int{"clear": 8, "haze": 4, "primary": 8, "water": 4}, parts: map[string]int{"train": 12},
	},
	{
		name: "Train.csv with paths and ClassId, Test.csv and Meta.csv: GTSRB",
		build: func(b *builder) {
			text, test := "Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path\n", "Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path\n"
			for i := range 12 {
				p := fmt.Sprintf("Train/%d/%05d_%05d.png", i%3, i%3, i)
				b.photo(p, three[i%3])
				text += fmt.Sprintf("27,26,5,5,22,20,%d,%s\n", i%3, p)
			}
			for i := range 6 {
				p := fmt.Sprintf("Test/%05d.png", i)
				b.photo(p, three[i%3])
				test += fmt.Sprintf("53,54,6,5,48,49,%d,%s\n", i%3, p)
			}
			meta := "Path,ClassId,ShapeId,ColorId,SignId\n"
			for i := range 3 {
				b.photo(fmt.Sprintf("Meta/%d.png", i), three[i])
				meta += fmt.Sprintf("Meta/%d.png,%d,0,0,3.%d\n", i, i, i)
			}
			b.write("Train.csv", text)
			b.write("Test.csv", test)
			b.write("Meta.csv", meta)
		},
		classes: classes(4, "0", "1", "2"), parts: map[string]int{"train": 12, "test": 6},
	},
	{
		name: "Finding Labels between bars: NIH's chest X-rays",
		build: func(b *builder) {
			b.table("Data_Entry_2017.csv", "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age", b.rows("images_001/images/%08d_000.png", 4), func(i int, r row) string {
				return fmt.Sprintf("%s.png,%s,%d,%d,%d", r.id, []string{"Cardiomegaly|Emphysema", "Cardiomegaly", "No Finding"}[r.class], i%2, i/2, 50+i%5)
			})
		},
		classes: map[string]int{"Cardiomegaly": 8, "Emphysema": 4}, parts: all(12),
	},
	{
		name: "attributes of -1 and 1, the partition elsewhere: CelebA",
		build: func(b *builder) {
			list := b.rows("img_align_celeba/img_align_celeba/%06d.jpg", 4)
			b.table("list_attr_celeba.csv", "image_id,Bald,Smiling,Young", list, func(i int, r row) string {
				return r.id + []string{".jpg,-1,1,1", ".jpg,1,1,-1", ".jpg,-1,-1,-1"}[r.class]
			})
			b.table("list_eval_partition.csv", "image_id,partition", list, func(i int, r row) string { return fmt.Sprintf("%s.jpg,%d", r.id, i%3) })
			b.table("list_bbox_celeba.csv", "image_id,x_1,y_1,width,height", list, func(i int, r row) string { return fmt.Sprintf("%s.jpg,%d,71,226,313", r.id, i%4) })
		},
		classes: map[string]int{"Bald": 4, "Smiling": 8, "Young": 4}, parts: all(12),
	},
}

// Tables of any text form, whose columns are found or asked for.
var columnLayouts = []layout{
	{
		name: "semicolons, CRLF, a byte order mark and quotes",
		build: func(b *builder) {
			list := b.rows("images/%d.jpg", 4)
			text := "\ufeff\"Image_ID\";\"label_group\"\r\n\r\n"
			for _, r := range list {
				text += fmt.Sprintf("%s;\"%s\"\r\n", r.id, three[r.class])
			}
			b.write("list.csv", text+";\r\n")
		},
		classes: each(4), parts: all(12),
	},
	{
		name: "UTF-16 and tabs",
		build: func(b *builder) {
			text := "id_code\tdiagnosis\n"
			for _, r := range b.rows("photos/%d.jpg", 4) {
				text += r.id + "\t" + three[r.class] + "\n"
			}
			data := []byte{0xff, 0xfe}
			for _, u := range utf16.Encode([]rune(text)) {
				data = binary.LittleEndian.AppendUint16(data, u)
			}
			b.write("diagnoses.tsv", string(data))
		},
		classes: each(4), parts: all(12),
	},
	{
		name:    "no header",
		build:   func(b *builder) { b.table("list.csv", "", b.rows("images/%d.jpg", 4), named) },
		classes: each(4), parts: all(12),
	},
	{
		name: "numbers as images and as classes, columns of other names",
		build: func(b *builder) {
			b.table("data.csv", "no,kind", b.rows("images/%d.jpg", 4), func(_ int, r row) string { return fmt.Sprintf("%s,%d", r.id, r.class) })
		},
		classes: classes(4, "0", "1", "2"), parts: all(12),
	},
	{
		name: "class numbers with gaps, as decimals",
		build: func(b *builder) {
			b.table("data.csv", "file,target", b.rows("images/%d.jpg", 4), func(_ int, r row) string { return fmt.Sprintf("%s.jpg,%d.0", r.id, r.class*3) })
			b.write("classes.txt", "bonsai\nb\nc\nketch\ne\nf\nwatch\n")
		},
		classes: each(4), parts: all(12),
	},
	{
		name: "two columns of classes",
		build: func(b *builder) {
			b.table("data.csv", "image,species,breed", b.rows("images/%d.jpg", 4), func(i int, r row) string {
				return fmt.Sprintf("%s.jpg,%s,%d", r.id, three[r.class], i%2)
			})
		},
		refused: `data.csv: several columns may be that of classes: species ("bonsai", "watch", "ketch"), breed ("0", "1"); say which by --columns image=image,label=species`,
	},
	{
		name: "two columns of classes, as the flag says",
		build: func(b *builder) {
			b.table("data.csv", "image,species,breed", b.rows("images/%d.jpg", 4), func(i int, r row) string {
				return fmt.Sprintf("%s.jpg,%s,%d", r.id, three[r.class], i%2)
			})
		},
		flags:   []string{"--columns", "image=image,label=species"},
		classes: each(4), parts: all(12),
	},
	{
		name: "no column is called like classes",
		build: func(b *builder) {
			b.table("data.csv", "image,colour,form", b.rows("images/%d.jpg", 4), func(i int, r row) string { return fmt.Sprintf("%s.jpg,%s,%d", r.id, three[r.class], i%2) })
		},
		refused: "none has a name such as label or class, and any of these may be it: colour (",
	},
	{
		name: "two columns of images",
		build: func(b *builder) {
			list := b.rows("images/%d.jpg", 4)
			b.table("data.csv", "before,after,label", list, func(i int, r row) string {
				return fmt.Sprintf("%s.jpg,%s.jpg,%s", r.id, list[len(list)-1-i].id, three[r.class])
			})
		},
		refused: `data.csv: several columns name images: before ("0.jpg", "1.jpg", "2.jpg", …), after (`,
	},
	{
		name: "labels of two words, or two labels",
		build: func(b *builder) {
			b.table("data.csv", "image,labels", b.rows("images/%d.jpg", 4), func(i int, r row) string { return r.id + ".jpg,golden " + three[r.class] })
		},
		refused: `"golden bonsai" may be one class or several labels; say which by --columns image=image,label=labels:whole or --columns image=image,label=labels:words`,
	},
	{
		name: "labels of two words, as the flag says",
		build: func(b *builder) {
			b.table("data.csv", "image,labels", b.rows("images/%d.jpg", 4), func(i int, r row) string { return r.id + ".jpg,golden " + three[r.class] })
		},
		flags:   []string{"--columns", "image=image,label=labels:whole"},
		classes: classes(4, "golden bonsai", "golden ketch", "golden watch"), parts: all(12),
	},
	{
		name: "lists of labels as JSON and as numpy writes them",
		build: func(b *builder) {
			b.table("data.csv", "image,attribute_ids,labels", b.rows("images/%d.jpg", 4), func(i int, r row) string {
				return r.id + `.jpg,,"` + []string{"[1, 2]", "[2 3]", "[1]"}[r.class] + `"`
			})
		},
		classes: map[string]int{"1": 8, "2": 8, "3": 4}, parts: all(12),
	},
	{
		name: "a field too many",
		build: func(b *builder) {
			b.table("data.csv", "image,label", b.rows("images/%d.jpg", 4), func(i int, r row) string { return r.id + ".jpg,tench, Tinca tinca" })
		},
		refused: `data.csv:2: 3 fields, want 2 as in the header; a field with "," in it stands in quotes`,
	},
	{
		name: "lists that name classes differently",
		build: func(b *builder) {
			b.table("data.csv", "image,label", b.rows("images/%d.jpg", 4), numbered)
			b.write("class_indices.json", `{"bonsai": 0, "ketch": 1, "watch": 2}`)
			b.write("classes.txt", "bonsai\nwatch\nketch\n")
		},
		refused: "class_indices.json and classes.txt name the classes differently",
	},
}

// What tables call the images.
var nameLayouts = []layout{
	{
		name: "paths of another machine",
		build: func(b *builder) {
			b.table("data.csv", "file_path,label", b.rows("photos/%d.jpg", 4), func(_ int, r row) string {
				return `C:\Users\ann\Desktop\shots\` + r.id + ".jpg," + three[r.class]
			})
		},
		classes: each(4), parts: all(12),
	},
	{
		name: "paths from the working directory",
		build: func(b *builder) {
			b.table("data.csv", "path,label", b.rows("data/photos/%d.jpg", 4), func(_ int, r row) string {
				return "./photos/" + r.id + ".jpg," + three[r.class]
			})
		},
		classes: each(4), parts: all(12),
	},
	{
		name: "addresses",
		build: func(b *builder) {
			b.table("data.csv", "image,label", b.rows("photos/%d.jpg", 4), func(_ int, r row) string {
				return "https://example.org/" + r.id + ".jpg," + three[r.class]
			})
		},
		refused: `data.csv:2: "https://example.org/0.jpg" is an address`,
	},
	{
		name: "a name that two images have",
		build: func(b *builder) {
			b.table("data.csv", "image,label", b.rows("photos/%d.jpg", 4), numbered)
			b.photo("images/3.jpg", "watch")
		},
		refused: `data.csv:5: "3.jpg": two images have this name: images/3.jpg and photos/3.jpg`,
	},
	{
		name: "an image of two classes",
		build: func(b *builder) {
			b.table("data.csv", "image,label", b.rows("photos/%d.jpg", 4), func(i int, r row) string { return numbered(i, r) + map[bool]string{true: "\n1.jpg,0"}[i == 5] })
		},
		refused: "data.csv:3 and data.csv:8: photos/1.jpg is 2 there and 0 here, want one class an image",
	},
	{
		name: "a row twice, rows without files and files without rows",
		build: func(b *builder) {
			list := b.rows("photos/%d.jpg", 4)
			b.table("data.csv", "image,label", append(list, list[2]), numbered)
			b.flat("photos/more %d.jpg", 3)
		},
		classes: classes(4, "0", "1", "2"), parts: all(12),
	},
}

// Parts of tables.
var partLayouts = []layout{
	{
		name: "a column of parts",
		build: func(b *builder) {
			b.table("data.csv", "filepaths,labels,data set", b.rows("images/%d.jpg", 4), func(i int, r row) string {
				return fmt.Sprintf("%s.jpg,%s,%s", r.id, three[r.class], []string{"train", "train", "valid", "test"}[i/3])
			})
		},
		classes: each(2), parts: map[string]int{"train": 6, "val": 3, "test": 3},
	},
	{
		name: "a column of folds, asked for",
		build: func(b *builder) {
			b.table("data.csv", "image,label,fold", b.rows("images/%d.jpg", 4), func(i int, r row) string { return fmt.Sprintf("%s,%d", numbered(i, r), i/3) })
		},
		flags:   []string{"--columns", "split=fold:3"},
		classes: classes(3, "0", "1", "2"), parts: map[string]int{"train": 9, "val": 3},
	},
	{
		name: "a column of folds",
		build: func(b *builder) {
			b.table("data.csv", "image,label,fold", b.rows("images/%d.jpg", 4), func(i int, r row) string { return fmt.Sprintf("%s,%d", numbered(i, r), i/3) })
		},
		classes: classes(4, "0", "1", "2"), parts: all(12),
	},
	{
		name: "is_test",
		build: func(b *builder) {
			b.table("data.csv", "image,label,is_test", b.rows("images/%d.jpg", 4), func(i int, r row) string { return fmt.Sprintf("%s,%v", numbered(i, r), i > 8) })
		},
		classes: classes(3, "0", "1", "2"), parts: map[string]int{"train": 9, "test": 3},
	},
	{
		name: "train.csv, val.csv and test.csv of flat folders with equal names",
		build: func(b *builder) {
			for part, n := range map[string]int{"train": 4, "val": 2, "test": 1} {
				list := b.rows(part+"/%d.jpg", n)
				if part == "test" {
					b.table("test.csv", "image", list, func(_ int, r row) string { return r.id + ".jpg" })
				} else {
					b.table(part+".csv", "image,label", list, numbered)
				}
			}
		},
		classes: classes(4, "0", "1", "2"), parts: map[string]int{"train": 12, "val": 6},
	},
	{
		name: "several tables",
		build: func(b *builder) {
			list := b.rows("images/%d.jpg", 4)
			b.table("expert1.csv", "image,label", list, numbered)
			b.table("expert2.csv", "image,label", list, named)
		},
		refused: "several tables give classes: expert1.csv, expert2.csv; open one of them",
	},
	{
		name: "one of several tables",
		build: func(b *builder) {
			list := b.rows("images/%d.jpg", 4)
			b.table("expert1.csv", "image,label", list, numbered)
			b.table("expert2.csv", "image,label", list, named)
		},
		data:    "expert2.csv",
		classes: each(4), parts: all(12),
	},
}

// Lists of their own form.
var listLayouts = []layout{
	{
		name: "lists of paths and numbers: torchvision, Caffe",
		build: func(b *builder) {
			line := func(_ int, r row) string { return fmt.Sprintf("images/%s.jpg %d", r.id, r.class) }
			b.table("train.txt", "", b.rows("images/a photo %d.jpg", 4), line)
			b.table("val.txt", "", b.rows("images/%d.jpg", 2), line)
		},
		classes: classes(4, "0", "1", "2"), parts: map[string]int{"train": 12, "val": 6},
	},
	{
		name: "class folders and lists of their parts: Food-101",
		build: func(b *builder) {
			b.folders("images/%s/%d.jpg", 4)
			train, test := "", ""
			for _, c := range three {
				train += c + "/0\n" + c + "/2\n" + c + "/3\n"
				test += c + "/1\n"
			}
			b.write("meta/train.txt", train)
			b.write("meta/test.txt", test)
			b.write("meta/classes.txt", strings.Join(three, "\n")+"\n")
			b.write("meta/labels.txt", "Bonsai\nKetch\nWatch\n")
			b.write("meta/train.json", `{"bonsai": ["bonsai/0"]}`)
			b.write("license_agreement.txt", "text\n")
		},
		classes: each(3), parts: map[string]int{"train": 9, "test": 3},
	},
	{
		name: "images.txt and its like: CUB-200-2011",
		build: func(b *builder) {
			images, labels, split := "", "", ""
			for i := range 12 {
				p := fmt.Sprintf("%03d.%s/photo_%d.jpg", i%3+1, three[i%3], i)
				b.photo("images/"+p, three[i%3])
				images += fmt.Sprintf("%d %s\n", i+1, p)
				labels += fmt.Sprintf("%d %d\n", i+1, i%3+1)
				split += fmt.Sprintf("%d %d\n", i+1, map[bool]int{true: 1}[i < 9])
			}
			b.write("images.txt", images)
			b.write("image_class_labels.txt", labels)
			b.write("train_test_split.txt", split)
			b.write("classes.txt", "1 001.bonsai\n2 002.ketch\n3 003.watch\n")
			b.write("bounding_boxes.txt", "1 60.0 27.0 325.0 304.0\n")
			b.write("attributes/attributes.txt", "1 has_bill_shape::curved\n")
			b.write("parts/parts.txt", "1 back\n")
		},
		classes: classes(3, "001.bonsai", "002.ketch", "003.watch"), parts: map[string]int{"train": 9, "test": 3},
	},
	{
		name: "annotations of names and numbers: Oxford-IIIT Pet",
		build: func(b *builder) {
			trainval, test := "", ""
			for i := range 12 {
				b.photo(fmt.Sprintf("images/%s_%d.jpg", three[i%3], i), three[i%3])
				line := fmt.Sprintf("%s_%d %d %d 1\n", three[i%3], i, i%3+1, i%2+1)
				if i < 9 {
					trainval += line
				} else {
					test += line
				}
			}
			b.write("annotations/list.txt", "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n"+trainval+test)
			b.write("annotations/trainval.txt", trainval)
			b.write("annotations/test.txt", test)
			b.write("annotations/trimaps/bonsai_0.txt", "a mask\n")
			b.write("annotations/xmls/ketch_1.xml", "<annotation><filename>ketch_1.jpg</filename><size><width>40</width><height>40</height></size><object><name>dog</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>")
		},
		classes: each(3), parts: map[string]int{"train": 9, "test": 3},
	},
	{
		name: "MAT-files: Oxford's flowers",
		build: func(b *builder) {
			for i := range 12 {
				b.photo(fmt.Sprintf("jpg/image_%05d.jpg", i+1), three[i%3])
			}
			b.copyTree("../../dataset/testdata/flowers")
		},
		classes: classes(2, "3", "5", "77"), parts: map[string]int{"train": 6, "val": 3, "test": 3},
	},
}

// Records in JSON and Parquet.
var recordLayouts = []layout{
	{
		name: "metadata.csv in the folders of parts: Hugging Face",
		build: func(b *builder) {
			for part, n := range map[string]int{"train": 4, "validation": 2} {
				b.table(part+"/metadata.csv", "file_name,label", b.rows(part+"/%04d.jpg", n), func(_ int, r row) string { return r.id + ".jpg," + three[r.class] })
			}
			b.write("README.md", "---\nlicense: mit\n---\n")
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 6},
	},
	{
		name: "metadata.jsonl: Hugging Face",
		build: func(b *builder) {
			b.table("train/metadata.jsonl", "", b.rows("train/%04d.jpg", 4), func(_ int, r row) string {
				return fmt.Sprintf(`{"file_name": "%s.jpg", "label": %d, "objects": {"bbox": [[1, 2, 3, 4]]}}`, r.id, r.class)
			})
		},
		classes: classes(4, "0", "1", "2"), parts: map[string]int{"train": 12},
	},
	{
		name: "an array of records",
		build: func(b *builder) {
			var records []string
			for _, r := range b.rows("images/%d.jpg", 4) {
				records = append(records, fmt.Sprintf(`{"image": "%s.jpg", "tags": ["%s", "all"]}`, r.id, three[r.class]))
			}
			b.write("annotations.json", "["+strings.Join(records, ",\n")+"]")
		},
		classes: map[string]int{"all": 12, "bonsai": 4, "ketch": 4, "watch": 4}, parts: all(12),
	},
	{
		name: "broken JSON lines",
		build: func(b *builder) {
			b.rows("images/%d.jpg", 4)
			b.write("labels.jsonl", "{\"image\": \"0.jpg\", \"label\": 1}\n{\"image\": \n")
		},
		refused: "labels.jsonl:",
	},
	{
		name:    "Parquet with pictures: Hugging Face",
		build:   func(b *builder) { b.copyTree("../../dataset/testdata/parquet/hub") },
		ordered: true,
		classes: map[string]int{"bird": 4, "cat": 5, "dog": 5}, parts: map[string]int{"train": 14, "val": 6},
	},
	{
		name: "Parquet of a series that isn't whole",
		build: func(b *builder) {
			b.copyTree("../../dataset/testdata/parquet/hub")
			b.remove("data/train-00000-of-00002.parquet")
		},
		refused: "files are missing: data/train-00000-of-00002.parquet; fetch them, too",
	},
	{
		name:    "a Parquet file with several labels an image",
		build:   func(b *builder) { b.copyTree("../../dataset/testdata/parquet/several") },
		data:    "train.parquet",
		ordered: true,
		classes: map[string]int{"bird": 4, "cat": 3, "dog": 2}, parts: map[string]int{"train": 6},
	},
}

// Tables beside class folders.
var folderTableLayouts = []layout{
	{
		name: "a table of the folders' classes",
		build: func(b *builder) {
			text := "class id,filepaths,labels,data set,scientific name\n"
			for _, part := range []string{"train", "valid", "test"} {
				for i := range 6 {
					p := fmt.Sprintf("%s/%s/%03d.jpg", part, strings.ToUpper(three[i%3]), i)
					b.photo(p, three[i%3])
					text += fmt.Sprintf("%d.0,%s,%s,%s,LATIN %d\n", i%3, p, strings.ToUpper(three[i%3]), part, i%3)
				}
			}
			b.write("birds.csv", text)
		},
		classes: classes(2, "BONSAI", "KETCH", "WATCH"), parts: map[string]int{"train": 6, "val": 6, "test": 6},
	},
	{
		name: "a table that contradicts the folders",
		build: func(b *builder) {
			b.folders("%s/%d.jpg", 4)
			b.write("index.csv", "path,label\nbonsai/0.jpg,bonsai\nbonsai/1.jpg,watch\nketch/0.jpg,ketch\n")
		},
		refused: "bonsai/1.jpg lies in folder bonsai, and index.csv says watch; say which holds: --columns image=path,label=label for the table, --columns none for the folders",
	},
	{
		name: "a table that contradicts the folders, which hold",
		build: func(b *builder) {
			b.folders("%s/%d.jpg", 4)
			b.write("index.csv", "path,label\nbonsai/0.jpg,bonsai\nbonsai/1.jpg,watch\nketch/0.jpg,ketch\n")
		},
		flags:   []string{"--columns", "none"},
		classes: each(4), parts: all(12),
	},
	{
		name: "a table of something else beside class folders",
		build: func(b *builder) {
			b.folders("%s/%d.jpg", 4)
			b.write("quality.csv", "path,label\nbonsai/0.jpg,good\nbonsai/1.jpg,bad\nketch/0.jpg,good\n")
		},
		refused: "folders (bonsai, ketch) and quality.csv (bad, good) may both be the classes; say which: --columns image=path,label=label for the table, --columns none for the folders",
	},
	{
		name: "a table of other files beside class folders",
		build: func(b *builder) {
			b.folders("%s/%d.jpg", 4)
			b.write("prices.csv", "item,price\nchair,5\ntable,7\n")
		},
		classes: each(4), parts: all(12),
	},
}

func (b *builder) remove(name string) {
	if err := os.Remove(filepath.Join(b.dir, filepath.FromSlash(name))); err != nil {
		b.t.Fatal(err)
	}
}
