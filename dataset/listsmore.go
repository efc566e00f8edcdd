package dataset

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// firstFile returns the first of some files that is there, "" if none is.
func firstFile(fsys fs.FS, names ...string) string {
	for _, n := range names {
		if info, err := fs.Stat(fsys, n); err == nil && !info.IsDir() {
			return n
		}
	}
	return ""
}

// celebrityLists reads CelebA's list_attr_celeba.txt: a line with the number of images, one with
// the attributes, and an image with 1 or -1 for each on the others; and its
// list_eval_partition.txt of images and 0, 1 or 2.
func celebrityLists(ctx context.Context, fsys fs.FS, _ listing) (*table, error) {
	file := firstFile(fsys, "list_attr_celeba.txt", "Anno/list_attr_celeba.txt")
	if file == "" {
		return nil, nil
	}
	attributes, err := readWords(ctx, fsys, file)
	if err != nil {
		return nil, err
	}
	if len(attributes.rows) < 3 {
		return nil, fmt.Errorf("%s: %d lines, want a number, the names of attributes and images", file, len(attributes.rows))
	}
	part := map[string]string{}
	if list := firstFile(fsys, "list_eval_partition.txt", "Eval/list_eval_partition.txt"); list != "" {
		t, err := readWords(ctx, fsys, list)
		if err != nil {
			return nil, err
		}
		for row, words := range t.rows {
			name, ok := map[string]string{"0": "train", "1": "val", "2": "test"}[words[len(words)-1]]
			if !ok || len(words) != 2 {
				return nil, t.errorf(row, "%q, want an image and 0, 1 or 2", strings.Join(words, " "))
			}
			part[words[0]] = name
		}
	}
	names := attributes.rows[1]
	out := newList(file, "split")
	out.classNames["label"] = names
	for row := 2; row < len(attributes.rows); row++ {
		words := attributes.rows[row]
		if len(words) != len(names)+1 {
			return nil, attributes.errorf(row, "%d words, want an image and %d attributes", len(words), len(names))
		}
		var shown []string
		for i, v := range words[1:] {
			if v != "1" && v != "-1" {
				return nil, attributes.errorf(row, "%s is %q, want 1 or -1", names[i], v)
			}
			if v == "1" {
				shown = append(shown, fmt.Sprint(i))
			}
		}
		out.addRow(attributes.lines[row], words[0], "["+strings.Join(shown, ",")+"]", part[words[0]])
	}
	return out, nil
}

// fashionLists reads DeepFashion's Anno/list_category_img.txt: a line with the number of images, one
// with the names of the columns, and an image and the number of its category on the others; the
// names in list_category_cloth.txt, and the parts in Eval/list_eval_partition.txt.
func fashionLists(ctx context.Context, fsys fs.FS, _ listing) (*table, error) {
	const list, names, parts = "list_category_img.txt", "list_category_cloth.txt", "list_eval_partition.txt"
	file := firstFile(fsys, list, "Anno/"+list, "Anno_coarse/"+list, "anno/"+list)
	if file == "" {
		return nil, nil
	}
	rows := func(file string) (*table, error) {
		if file == "" {
			return &table{}, nil
		}
		t, err := readWords(ctx, fsys, file)
		if err == nil {
			t.rows, t.lines = t.rows[min(2, len(t.rows)):], t.lines[min(2, len(t.lines)):]
		}
		return t, err
	}
	images, err := rows(file)
	if err != nil {
		return nil, err
	}
	cloth, err := rows(firstFile(fsys, path.Join(path.Dir(file), names)))
	if err != nil {
		return nil, err
	}
	divided, err := rows(firstFile(fsys, parts, "Eval/"+parts, "eval/"+parts))
	if err != nil {
		return nil, err
	}
	part := map[string]string{}
	for row, words := range divided.rows {
		if len(words) != 2 {
			return nil, divided.errorf(row, "%q, want an image and a part", strings.Join(words, " "))
		}
		if part[words[0]], err = partOf(words[1]); err != nil {
			return nil, divided.errorf(row, "%w", err)
		}
	}
	out := newList(file, "split")
	for row, words := range images.rows {
		if len(words) != 2 {
			return nil, images.errorf(row, "%q, want an image and the number of its category", strings.Join(words, " "))
		}
		out.addRow(images.lines[row], words[0], words[1], part[words[0]])
	}
	if len(cloth.rows) == 0 {
		return out, nil
	}
	title := map[string]string{}
	for i, words := range cloth.rows {
		title[strconv.Itoa(i+1)] = words[0]
	}
	return out, out.nameByNumber(title)
}

// aircraftLists reads FGVC-Aircraft's images_variant_train.txt and its like: an image's number and
// its variant, which may have blanks.
func aircraftLists(ctx context.Context, fsys fs.FS, root listing) (*table, error) {
	if !slices.Contains(root.files, "images_variant_train.txt") {
		return nil, nil
	}
	out := newList("images_variant_train.txt", "split")
	for _, part := range partNames {
		t, err := readWords(ctx, fsys, "images_variant_"+part+".txt")
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		for row, words := range t.rows {
			if len(words) < 2 {
				return nil, t.errorf(row, "%q, want an image and its variant", strings.Join(words, " "))
			}
			out.addRow(t.lines[row], words[0], strings.Join(words[1:], " "), part)
		}
	}
	return out, nil
}

// signLists reads the German traffic signs as their makers distribute them: a folder each class
// with its table GT-00000.csv, and GT-final_test.csv of the test images.
func signLists(ctx context.Context, fsys fs.FS, _ listing) (*table, error) {
	train := ""
	for _, dir := range []string{"GTSRB/Final_Training/Images", "Final_Training/Images", "GTSRB/Training", "Training"} {
		if firstFile(fsys, dir+"/00000/GT-00000.csv") != "" {
			train = dir
			break
		}
	}
	test := firstFile(fsys, "GT-final_test.csv", "GTSRB/GT-final_test.csv", "GTSRB/Final_Test/Images/GT-final_test.csv", "Final_Test/Images/GT-final_test.csv")
	if train == "" || test == "" {
		return nil, nil
	}
	files, err := fs.Glob(fsys, train+"/*/GT-*.csv")
	if err != nil {
		return nil, err
	}
	out := newList(test, "split")
	for _, file := range append(files, test) {
		t, err := readTable(ctx, fsys, file)
		if err != nil {
			return nil, err
		}
		image, class := t.column("filename"), t.column("classid")
		if image < 0 || class < 0 {
			return nil, fmt.Errorf("%s: no columns Filename and ClassId", file)
		}
		for row := range t.rows {
			name, part := t.cell(row, image), partNames[partTest]
			if file != test {
				name, part = path.Join(path.Dir(file), name), partNames[partTrain]
			} else if dir := firstFile(fsys, "GTSRB/Final_Test/Images/"+name, "Final_Test/Images/"+name); dir != "" {
				name = dir
			}
			out.addRow(t.lines[row], name, t.cell(row, class), part)
		}
	}
	return out, nil
}
