package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pack chooses the images of the sample. From every class folder under from it takes the
// first train+val images by name; the last val of these are the validation part. An image
// of trainOnly (CLASS/NAME) stays in the training part, and the image before the validation
// part takes its place.
type pack struct {
	from, readme string
	train, val   int
	trainOnly    []string
	limit        int64
}

type member struct {
	name string
	data []byte
}

func (p pack) bytes() ([]byte, error) {
	if p.train < 1 || p.val < 1 {
		return nil, fmt.Errorf("%d training and %d validation images a class, want at least one of each", p.train, p.val)
	}
	readme, err := os.ReadFile(p.readme)
	if err != nil {
		return nil, err
	}
	members := []member{{"README.md", readme}}
	classes, err := names(p.from, true)
	if err != nil {
		return nil, err
	}
	if len(classes) == 0 {
		return nil, fmt.Errorf("%s: no class folders", p.from)
	}
	seen := map[[sha256.Size]byte]string{}
	for _, class := range classes {
		ms, err := p.class(class)
		if err != nil {
			return nil, err
		}
		for _, m := range ms {
			sum := sha256.Sum256(m.data)
			if first, ok := seen[sum]; ok {
				return nil, fmt.Errorf("%s and %s are the same file", first, m.name)
			}
			seen[sum] = m.name
		}
		members = append(members, ms...)
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	data, err := stored(members)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > p.limit {
		return nil, fmt.Errorf("the pack has %d bytes, want at most %d", len(data), p.limit)
	}
	return data, nil
}

// class returns the images of one class under the names of their parts.
func (p pack) class(class string) ([]member, error) {
	files, err := names(filepath.Join(p.from, class), false)
	if err != nil {
		return nil, err
	}
	if len(files) < p.train+p.val {
		return nil, fmt.Errorf("%s: %d images, want %d", class, len(files), p.train+p.val)
	}
	files = files[:p.train+p.val]
	val := map[string]bool{}
	for _, f := range slices.Backward(files) {
		if len(val) < p.val && !slices.Contains(p.trainOnly, class+"/"+f) {
			val[f] = true
		}
	}
	if len(val) < p.val {
		return nil, fmt.Errorf("%s: %d images for the validation part, want %d", class, len(val), p.val)
	}
	var ms []member
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(p.from, class, f))
		if err != nil {
			return nil, err
		}
		part := "train"
		if val[f] {
			part = "val"
		}
		ms = append(ms, member{part + "/" + class + "/" + f, data})
	}
	return ms, nil
}

// names returns the folders or the files of a folder, sorted, without hidden ones.
func names(dir string, folders bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() == folders && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out, nil
}

// stored writes members without compression, which doesn't make JPEG smaller, and without
// times, so that the bytes depend on names and contents alone.
func stored(members []member) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, m := range members {
		f, err := w.CreateHeader(&zip.FileHeader{Name: m.name, Method: zip.Store})
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(m.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
