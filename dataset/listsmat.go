package dataset

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/matfile"
	"github.com/verydeep/vgg/internal/wholefile"
)

// maxMAT bounds a MAT-file of labels.
const maxMAT = 64 << 20

// matVariables reads the variables of a MAT-file.
func matVariables(ctx context.Context, fsys fs.FS, file string) (map[string]*matfile.Array, error) {
	data, err := wholefile.ReadFS(ctx, fsys, file, maxMAT)
	var variables []*matfile.Array
	if err == nil {
		variables, err = matfile.Open(bytes.NewReader(data), int64(len(data)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	out := map[string]*matfile.Array{}
	for _, v := range variables {
		out[v.Name] = v
	}
	return out, nil
}

// matNumbers reads the arrays of numbers of a MAT-file.
func matNumbers(ctx context.Context, fsys fs.FS, file string) (map[string][]float64, error) {
	variables, err := matVariables(ctx, fsys, file)
	if err != nil {
		return nil, err
	}
	out := map[string][]float64{}
	for name, v := range variables {
		if values, err := v.Numbers(); err == nil {
			out[name] = values
		}
	}
	return out, nil
}

// matTexts returns the texts of a cell array.
func matTexts(v *matfile.Array) ([]string, error) {
	if v == nil || v.Class != "cell" {
		return nil, fmt.Errorf("no cell array of texts")
	}
	texts := make([]string, len(v.Elements))
	for i, e := range v.Elements {
		for e != nil && e.Class == "cell" && len(e.Elements) == 1 {
			e = e.Elements[0]
		}
		text, ok := e.Text()
		if !ok {
			return nil, fmt.Errorf("element %d is no text", i+1)
		}
		texts[i] = text
	}
	return texts, nil
}

// carLists reads the MAT-files of Stanford Cars: cars_annos.mat beside car_ims, or the devkit's
// cars_train_annos.mat beside cars_train and, of the test images, cars_test_annos_withlabels.mat.
// The names of the classes are in the former, or in cars_meta.mat.
func carLists(ctx context.Context, fsys fs.FS, _ listing) (*table, error) {
	if file := firstFile(fsys, "cars_annos.mat"); file != "" {
		return carTable(ctx, fsys, file, nil)
	}
	dirs := []string{".", "devkit", "car_devkit/devkit", "car_devkit", "annotations"}
	find := func(name string) string {
		var files []string
		for _, d := range dirs {
			files = append(files, path.Join(d, name))
		}
		return firstFile(fsys, files...)
	}
	train := find("cars_train_annos.mat")
	if train == "" {
		return nil, nil
	}
	names := map[string]string{}
	if meta := find("cars_meta.mat"); meta != "" {
		variables, err := matVariables(ctx, fsys, meta)
		if err != nil {
			return nil, err
		}
		if names, err = carNames(meta, variables["class_names"]); err != nil {
			return nil, err
		}
	}
	out, err := carTable(ctx, fsys, train, names)
	if err != nil {
		return nil, err
	}
	if test := find("cars_test_annos_withlabels.mat"); test != "" {
		more, err := carTable(ctx, fsys, test, names)
		if err != nil {
			return nil, err
		}
		out.rows, out.lines = append(out.rows, more.rows...), append(out.lines, more.lines...)
	}
	return out, nil
}

// carNames returns the names of the classes by their numbers from 1.
func carNames(file string, v *matfile.Array) (map[string]string, error) {
	texts, err := matTexts(v)
	if err != nil {
		return nil, fmt.Errorf("%s: class_names: %w", file, err)
	}
	names := map[string]string{}
	for i, name := range texts {
		names[strconv.Itoa(i+1)] = name
	}
	return names, nil
}

// carTable reads the structs annotations of a MAT-file of cars: relative_im_path, class and test;
// or fname and class of the part that the file is called after. names are those of the classes;
// nil takes the file's own.
func carTable(ctx context.Context, fsys fs.FS, file string, names map[string]string) (*table, error) {
	variables, err := matVariables(ctx, fsys, file)
	if err != nil {
		return nil, err
	}
	cars := variables["annotations"]
	if cars == nil || cars.Class != "struct" {
		return nil, fmt.Errorf("%s: no structs annotations", file)
	}
	if names == nil {
		if names, err = carNames(file, variables["class_names"]); err != nil {
			return nil, err
		}
	}
	out := newList(file, "split")
	out.record = "annotation "
	part, dir := "", ""
	for _, p := range []string{"train", "test"} {
		if folder := "cars_" + p; strings.HasPrefix(path.Base(file), folder) {
			part, dir = p, folder
			if l, err := fs.ReadDir(fsys, path.Join(folder, folder)); err == nil && len(l) > 0 {
				dir = path.Join(folder, folder)
			}
		}
	}
	for i := range cars.Len() {
		name, ok := cars.Field(i, "relative_im_path").Text()
		if !ok {
			if name, ok = cars.Field(i, "fname").Text(); ok {
				name = path.Join(dir, name)
			}
		}
		split := part
		if test := cars.Field(i, "test"); test != nil {
			split = map[int]string{0: "train", 1: "test"}[wholeNumber(test)]
		}
		class := cars.Field(i, "class")
		if !ok || class == nil || split == "" {
			return nil, fmt.Errorf("%s: annotation %d, want relative_im_path, class and test, or fname and class", file, i+1)
		}
		out.addRow(i+1, name, strconv.Itoa(wholeNumber(class)), split)
	}
	if len(names) == 0 {
		return out, nil
	}
	return out, out.nameByNumber(names)
}

// dogLists reads the MAT-files of Stanford Dogs: train_list.mat and test_list.mat, with the files
// file_list and their classes labels, numbers from 1. The class is called as in the folder, after
// its WordNet id, and as in the boxes: Chihuahua of n02085620-Chihuahua.
func dogLists(ctx context.Context, fsys fs.FS, _ listing) (*table, error) {
	out := newList("train_list.mat and test_list.mat", "split")
	out.record = "image "
	names := map[string]string{}
	for _, part := range []string{"train", "test"} {
		file := firstFile(fsys, part+"_list.mat", "lists/"+part+"_list.mat")
		if file == "" {
			return nil, nil
		}
		variables, err := matVariables(ctx, fsys, file)
		if err != nil {
			return nil, err
		}
		files, err := matTexts(variables["file_list"])
		if err != nil {
			return nil, fmt.Errorf("%s: file_list: %w", file, err)
		}
		labels, err := variables["labels"].Numbers()
		if err != nil || len(labels) != len(files) {
			return nil, fmt.Errorf("%s: %d labels of %d files, want a number each", file, len(labels), len(files))
		}
		for i, name := range files {
			id, class, ok := strings.Cut(path.Dir(name), "-")
			number := strconv.FormatFloat(labels[i], 'f', -1, 64)
			if other := names[number]; !ok || !isWNID(id) || other != "" && other != class {
				return nil, fmt.Errorf("%s: image %d: %s is of class %s, which is %q further up, want a folder n…-NAME each class", file, i+1, name, number, other)
			}
			names[number] = class
			out.addRow(i+1, name, number, part)
		}
	}
	return out, out.nameByNumber(names)
}
