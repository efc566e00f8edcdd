package cli_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The layouts of well-known collections that are easily taken for something else.
func init() { layouts = append(layouts, collectionLayouts...) }

// wholeImages writes a file of COCO's form without boxes.
func (b *builder) wholeImages(file, folder, part string, n int) {
	var images, labels []string
	for i := range n {
		class := i % len(three)
		name := fmt.Sprintf("%s/%d/%s%d.jpg", folder, class, part, i)
		b.photo(name, three[class])
		images = append(images, fmt.Sprintf(`{"id":%d,"file_name":%q,"width":40,"height":40}`, 100+i, name))
		labels = append(labels, fmt.Sprintf(`{"id":%d,"image_id":%d,"category_id":%d}`, 100+i, 100+i, class))
	}
	b.write(file, fmt.Sprintf(`{"info":{},"images":[%s],"annotations":[%s],"categories":[{"id":0,"name":"bonsai","supercategory":"x"},{"id":1,"name":"ketch"},{"id":2,"name":"watch"}]}`,
		strings.Join(images, ","), strings.Join(labels, ",")))
}

// masked writes the photographs of folders and a mask beside each.
func (b *builder) masked(images, masks string, n int) { b.folders(images, n); b.folders(masks, n) }

// boxRows writes photographs, and rows of two boxes for each, the larger one of the image's class.
func (b *builder) boxRows(folder, table, header, row string, n int) {
	text := header + "\n"
	for i := range n {
		class := i % len(three)
		name := fmt.Sprintf("%d.jpg", i)
		b.photo(folder+name, three[class])
		text += fmt.Sprintf(row, name, three[class], 2, 3, 30, 31) + "\n" + fmt.Sprintf(row, name, three[(class+1)%3], 2, 3, 12, 13) + "\n"
	}
	b.write(table, text)
}

const collected = "collection: "

var collectionLayouts = []layout{
	{
		gallery: "COCO's JSON without boxes",
		name:    collected + "COCO's form without boxes: iNaturalist",
		build: func(b *builder) {
			b.wholeImages("train2018.json", "train_val2018/Aves", "t", 12)
			b.wholeImages("val2018.json", "train_val2018/Aves", "v", 6)
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 6}, ordered: true,
	},
	{
		name: collected + "records as labels",
		build: func(b *builder) {
			text := ""
			for _, r := range b.rows("images/%d.jpg", 2) {
				text += fmt.Sprintf("{\"image\": \"%s.jpg\", \"label\": {\"name\": %q}}\n", r.id, three[r.class])
			}
			b.write("labels.jsonl", text)
		},
		refused: "column label: {\"name\":\"bonsai\"}, want a class or a list of classes, not a record",
	},
	{
		name: collected + "an object of images and classes",
		build: func(b *builder) {
			var items []string
			for _, r := range b.rows("images/%d.jpg", 2) {
				items = append(items, fmt.Sprintf("%q: %q", r.id+".jpg", three[r.class]))
			}
			b.write("labels.json", "{"+strings.Join(items, ", ")+"}")
		},
		classes: each(2), parts: all(6),
	},
	{
		name: collected + "a table of studies: MURA",
		build: func(b *builder) {
			for _, part := range []string{"train", "valid"} {
				studies, images := "", ""
				for i := range 4 {
					dir := fmt.Sprintf("MURA-v1.1/%s/XR_%s/patient%05d/study1_%s/", part, []string{"ELBOW", "HAND"}[i/2], i, []string{"negative", "positive"}[i%2])
					studies += fmt.Sprintf("%s,%d\n", dir, i%2)
					b.photo(dir+"image1.png", three[i%2])
					b.photo(dir+"image2.png", three[i%2])
					images += dir + "image1.png\n" + dir + "image2.png\n"
				}
				b.write("MURA-v1.1/"+part+"_labeled_studies.csv", studies)
				b.write("MURA-v1.1/"+part+"_image_paths.csv", images)
			}
		},
		classes: classes(4, "0", "1"), parts: map[string]int{"train": 8, "val": 8},
	},
	{
		name:    collected + "findings of 1, 0, -1 and nothing: CheXpert",
		build:   chexpert,
		refused: "columns of 1, 0, -1 or nothing may be labels, several an image",
	},
	{
		name:    collected + "findings, as the flag says",
		build:   chexpert,
		flags:   []string{"--columns", "image=Path,label=Edema+Support Devices"},
		classes: map[string]int{"Edema": 3, "Support Devices": 3}, parts: map[string]int{"train": 9, "val": 9},
	},
	{
		name: collected + "boxes as lists without classes: global wheat",
		build: func(b *builder) {
			text := "image_id,width,height,bbox,source\n"
			for _, r := range b.rows("train/%d.jpg", 2) {
				text += r.id + ",40,40,\"[2.0, 3.0, 10.0, 12.0]\",usask_1\n" + r.id + ",40,40,\"[5.0, 3.0, 10.0, 12.0]\",arvalis_1\n"
			}
			b.write("train.csv", text)
		},
		classes: map[string]int{"object": 6}, parts: all(6),
		trainRefused: "1 class, object, want boxes of two or more classes",
	},
	{
		gallery: "A table of boxes in each part",
		name:    collected + "tables of boxes in the parts: Roboflow",
		build: func(b *builder) {
			const header, row = "filename,width,height,class,xmin,ymin,xmax,ymax", "%s,40,40,%s,%d,%d,%d,%d"
			b.boxRows("train/", "train/_annotations.csv", header, row, 9)
			b.boxRows("valid/", "valid/_annotations.csv", header, row, 3)
		},
		classes: each(3), parts: map[string]int{"train": 9, "val": 3},
	},
	{
		name: collected + "columns of 0 and 1 in the parts: Roboflow",
		build: func(b *builder) {
			for part, n := range map[string]int{"train": 2, "valid": 1} {
				b.table(part+"/_classes.csv", "filename, bonsai, ketch, watch", b.rows(part+"/"+part+"%d.jpg", n), func(_ int, r row) string {
					return r.id + ".jpg" + []string{", 1, 0, 0", ", 0, 1, 0", ", 0, 0, 1"}[r.class]
				})
			}
		},
		classes: each(2), parts: map[string]int{"train": 6, "val": 3}, ordered: true,
	},
	{
		gallery: "Masks beside the images",
		name:    collected + "masks in the class folders: COVID-19 radiography",
		build:   func(b *builder) { b.masked("%s/images/%d.png", "%s/masks/%d.png", 4) },
		classes: each(4), parts: all(12), skipped: map[string]int{"folder of masks": 3},
	},
	{
		name:    collected + "masks beside their images: BUSI",
		build:   func(b *builder) { b.masked("set/%[1]s/%[1]s (%[2]d).png", "set/%[1]s/%[1]s (%[2]d)_mask.png", 4) },
		classes: each(4), parts: all(12), skipped: map[string]int{"mask of an image": 12},
	},
	{
		name:    collected + "classes called mask and no mask",
		build:   func(b *builder) { b.flat("with_mask/%d.jpg", 4); b.flat("without_mask/%d.jpg", 4) },
		classes: classes(4, "with_mask", "without_mask"), parts: all(8), skipped: map[string]int{},
	},
	{
		name:    collected + "images and masks alone",
		build:   func(b *builder) { b.flat("images/%d.png", 4); b.flat("masks/%d.png", 4) },
		refused: "images: 4 images without a class folder, want one folder of images for each class, a table of labels beside them, or a label pattern; the masks beside them are of pixels",
	},
	{
		name: collected + "folders of the first letters: SUN397",
		build: func(b *builder) {
			for _, c := range []string{"a/abbey", "a/alley", "c/church/indoor", "c/church/outdoor"} {
				b.flat("SUN397/"+c+"/sun_%d.jpg", 2)
			}
		},
		classes: classes(2, "abbey", "alley", "church/indoor", "church/outdoor"), parts: all(8),
	},
	{
		gallery: "Class folders in further folders",
		name:    collected + "folders of two levels",
		build:   twoLevels,
		refused: "--layout folders (the classes are plants, things) or --label-pattern '**/{label}/*' (the classes are bonsai, ketch, watch)",
	},
	{
		name:    collected + "folders of two levels, as the flag says",
		build:   twoLevels,
		flags:   []string{"--label-pattern", "**/{label}/*"},
		classes: each(4), parts: all(12),
	},
	{
		name: collected + "patients with classes in the names: IDC",
		build: func(b *builder) {
			for i, patient := range []string{"8863", "8864", "8865"} {
				for class := range 2 - i/2 {
					b.flat(fmt.Sprintf("%[1]s/%[2]d/%[1]s_idx5_x%%d_y1_class%[2]d.png", patient, class), 2)
				}
			}
		},
		refused: `--label-pattern '*_class{label}.png' (the files' names say the classes 0, 1)`,
	},
	{
		gallery: "A copy within",
		name:    collected + "a copy of the class folders beside them: malaria cells",
		build:   func(b *builder) { b.folders("cells/%s/%d.png", 4); b.folders("cells/cells/%s/%d.png", 4) },
		classes: each(4), parts: map[string]int{"all": 12, "cells": 12},
	},
	{
		name: collected + "folders of part and class: horse2zebra",
		build: func(b *builder) {
			b.flat("trainA/%d.jpg", 3)
			b.flat("trainB/%d.jpg", 3)
			b.flat("testA/%d.jpg", 2)
			b.flat("testB/%d.jpg", 2)
		},
		classes: classes(3, "A", "B"), parts: map[string]int{"train": 6, "test": 4},
	},
	{
		name: collected + "a flat test part in a folder of its own: ASL",
		build: func(b *builder) {
			b.folders("asl_train/asl_train/%s/%d.jpg", 4)
			b.flat("asl_test/asl_test/%d_test.jpg", 3)
		},
		classes: each(4), parts: map[string]int{"train": 12, "test": 3},
	},
	{
		name:    collected + "a flat validation part without labels",
		build:   func(b *builder) { b.folders("train/%s/%d.jpg", 4); b.flat("valid/%d.jpg", 3) },
		classes: each(4), parts: map[string]int{"train": 12, "val": 3},
	},
	{
		name: collected + "numbers as folders, their names above: Udacity's flowers",
		build: func(b *builder) {
			for i, c := range three {
				for k := range 3 {
					b.photo(fmt.Sprintf("flowers/train/%d/%d.jpg", i+1, k), c)
					b.photo(fmt.Sprintf("flowers/valid/%d/%d.jpg", i+1, k), c)
				}
			}
			b.write("cat_to_name.json", `{"1": "bonsai", "2": "ketch", "3": "watch"}`)
		},
		classes: classes(3, "1", "2", "3"), parts: map[string]int{"train": 9, "val": 9},
	},
	{
		name: collected + "lists with the classes' names and numbers: Places365",
		build: func(b *builder) {
			list := ""
			for _, r := range b.rows("val_256/Places365_val_%08d.jpg", 2) {
				list += fmt.Sprintf("%s.jpg %d\n", r.id, r.class)
			}
			b.write("places365_val.txt", list)
			b.write("categories_places365.txt", "bonsai 0\nketch 1\nwatch 2\n")
		},
		classes: each(2), parts: map[string]int{"val": 6},
		trainRefused: "a part val and none to train on",
	},
	{
		name: collected + "lists of several divisions: DTD",
		build: func(b *builder) {
			b.folders("images/%[1]s/%[1]s_%[2]d.jpg", 4)
			for split := range 2 {
				for part, numbers := range map[string][]int{"train": {0, 1}, "val": {2}, "test": {3}} {
					text := ""
					for _, c := range three {
						for _, n := range numbers {
							text += fmt.Sprintf("%[1]s/%[1]s_%[2]d.jpg\n", c, (n+split)%4)
						}
					}
					b.write(fmt.Sprintf("labels/%s%d.txt", part, split+1), text)
				}
			}
		},
		classes: each(2), parts: map[string]int{"train": 6, "val": 3, "test": 3},
	},
	{
		name: collected + "variants with blanks: FGVC-Aircraft",
		build: func(b *builder) {
			for i, part := range []string{"train", "val", "test"} {
				for _, kind := range []string{"variant", "family"} {
					text := ""
					for k := range 4 {
						if kind == "variant" {
							b.photo(fmt.Sprintf("images/%d.jpg", 10*i+k), three[k%2])
						}
						text += fmt.Sprintf("%d %s\n", 10*i+k, []string{"A300 B4", "F/A-18"}[k%2])
					}
					b.write(fmt.Sprintf("images_%s_%s.txt", kind, part), text)
				}
			}
		},
		classes: classes(2, "A300 B4", "F/A-18"), parts: map[string]int{"train": 4, "val": 4, "test": 4},
	},
	{
		name: collected + "attributes and partition as text: CelebA",
		build: func(b *builder) {
			attributes, partition := "9\nBald Smiling Young \n", ""
			for i, r := range b.rows("img_align_celeba/%06d.jpg", 3) {
				attributes += r.id + ".jpg" + []string{" -1  1  1", "  1  1 -1", " -1 -1 -1"}[r.class] + "\n"
				partition += fmt.Sprintf("%s.jpg %d\n", r.id, i/3)
			}
			b.write("list_attr_celeba.txt", attributes)
			b.write("list_eval_partition.txt", partition)
		},
		ordered: true,
		classes: map[string]int{"Bald": 1, "Smiling": 2, "Young": 1}, parts: map[string]int{"train": 3, "val": 3, "test": 3},
	},
	{
		name: collected + "a table in each class folder and one of the test images: GTSRB",
		build: func(b *builder) {
			const header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"
			test := header
			for i, c := range three {
				text := header
				for k := range 3 {
					b.photo(fmt.Sprintf("GTSRB/Final_Training/Images/%05d/%05d.png", i, k), c)
					text += fmt.Sprintf("%05d.png;40;40;5;5;30;30;%d\n", k, i)
				}
				b.write(fmt.Sprintf("GTSRB/Final_Training/Images/%05d/GT-%05d.csv", i, i), text)
				b.photo(fmt.Sprintf("GTSRB/Final_Test/Images/%05d.png", i), c)
				test += fmt.Sprintf("%05d.png;40;40;5;5;30;30;%d\n", i, i)
			}
			b.write("GT-final_test.csv", test)
		},
		classes: classes(3, "0", "1", "2"), parts: map[string]int{"train": 9, "test": 3},
	},
	{
		name: collected + "the lists of a year below the folder: VOCdevkit",
		build: func(b *builder) {
			b.xml("VOCdevkit/VOC2007/JPEGImages/%s_%d.jpg", "VOCdevkit/VOC2007/Annotations/%s_%d.xml", 3)
			train, val := "", ""
			for _, c := range three {
				train += c + "_0\n" + c + "_1\n"
				val += c + "_2\n"
			}
			b.write("VOCdevkit/VOC2007/ImageSets/Main/train.txt", train)
			b.write("VOCdevkit/VOC2007/ImageSets/Main/val.txt", val)
		},
		classes: each(2), parts: map[string]int{"train": 6, "val": 3},
	},
	{
		name:    collected + "pickled batches: CIFAR-10",
		build:   func(b *builder) { b.write("cifar-10-batches-py/data_batch_1", "\x80\x02}q\x01(U\x0bbatch_label") },
		refused: "cifar-10-batches-py/data_batch_1 is CIFAR's batches: write the pictures to files",
	},
	{
		name:    collected + "an archive that isn't read",
		build:   func(b *builder) { b.write("images.rar", "Rar!\x1a\x07\x00") },
		refused: "images.rar is an archive of RAR's kind: unpack it",
	},
	{
		name: collected + "a folder with two data sets: blood cells",
		build: func(b *builder) {
			b.folders("cells-master/cells-master/images/TRAIN/%s/%d.jpg", 2)
			b.folders("cells-master/cells-master/images/TEST/%s/%d.jpg", 1)
			b.flat("dataset-master/dataset-master/JPEGImages/%d.jpg", 3)
		},
		refused: "--data ",
	},
	{
		name: collected + "classes of val that train lacks: miniImageNet",
		build: func(b *builder) {
			list := b.rows("images/%d.jpg", 3)
			train, val := "filename,label\n", "filename,label\n"
			for i, r := range list {
				if r.class < 2 {
					train += named(i, row{r.id + ".jpg", r.class}) + "\n"
				} else {
					val += named(i, row{r.id + ".jpg", r.class}) + "\n"
				}
			}
			b.write("train.csv", train)
			b.write("val.csv", val)
		},
		refused: "train.csv: class watch, of which no image is in part train, want only classes of train; of the training images alone, open train.csv",
	},
	{
		name: collected + "column names with blanks, asked for",
		build: func(b *builder) {
			b.table("my data.csv", "image file,skin colour,hair colour", b.rows("images/%d.jpg", 4), func(i int, r row) string { return fmt.Sprintf("%s.jpg,%s,%d", r.id, three[r.class], i%2) })
		},
		refused: "say which by --columns 'image=image file,label=skin colour'",
	},
}

func chexpert(b *builder) {
	for _, part := range []string{"train", "valid"} {
		text := "Path,Sex,Age,Edema,Support Devices\n"
		for i := range 9 {
			name := fmt.Sprintf("%s/patient%d/study1/view1_frontal.jpg", part, i)
			b.photo(name, three[i%3])
			text += fmt.Sprintf("CheXpert-v1.0-small/%s,Female,%d,%s\n", name, 50+i%4, []string{"1.0,", "-1.0,1.0", "0.0,0.0"}[i%3])
		}
		b.write(part+".csv", text)
	}
}

func twoLevels(b *builder) {
	for i, c := range three {
		for k := range 4 {
			b.photo(fmt.Sprintf("%s/%s/%d.jpg", []string{"plants", "things", "things"}[i], c, k), c)
		}
	}
	b.flat("plants/bonsai/more", 0)
}

// suggested finds the flags in messages, with their values as a shell takes them; those that stand
// beside each other belong together.
var (
	suggestedValue = `(?:'[^']*'|\\'|[^\s';)(])+`
	suggested      = regexp.MustCompile(`--(?:columns|layout|label-pattern|data|annotations) ` + suggestedValue + `(?: --(?:columns|layout|label-pattern|annotations) ` + suggestedValue + `)*`)
	suggestedFlag  = regexp.MustCompile(`--([a-z-]+) (` + suggestedValue + `)`)
)

// TestSuggestions: what the errors of layouts suggest can be pasted, and the images are then read
// without another question.
func TestSuggestions(t *testing.T) {
	n := 0
	for _, l := range layouts {
		if l.refused == "" {
			continue
		}
		b := &builder{t: t, dir: filepath.Join(t.TempDir(), "it's a set")}
		l.build(b)
		if b.missing != "" {
			continue
		}
		data := filepath.Join(b.dir, l.data)
		var flags []string
		for _, f := range l.flags {
			flags = append(flags, strings.ReplaceAll(f, "{dir}", b.dir))
		}
		_, errs, _ := program(t, append([]string{"stats", data}, flags...)...)
		for _, m := range suggested.FindAllString(errs, -1) {
			n++
			args := []string{"stats", data, "--json"}
			for _, f := range suggestedFlag.FindAllStringSubmatch(m, -1) {
				value := strings.TrimRight(f[2], ",:")
				value = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(value, `'\''`, "\x00"), "'", ""), "\x00", "'")
				if f[1] == "data" {
					args[1] = value
				} else {
					args = append(args, "--"+f[1], value)
				}
			}
			out, _, code := program(t, args...)
			if classes := strings.Count(out, `"class":`); code != 0 || classes < 1 {
				t.Errorf("%s: suggested %s, which gives %d classes and exit code %d: %s", l.name, m, classes, code, out)
			}
		}
	}
	if n < 30 {
		t.Errorf("%d suggestions, want more", n)
	}
}
