// Package sample holds photographs to try things with: ten categories of Caltech-101, with
// forty training and ten validation images each. A program that imports it grows by 6.4 MB;
// package dataset alone has none of them.
package sample

import (
	"archive/zip"
	"context"
	_ "embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/verydeep/vgg/dataset"
)

//go:embed caltech101.zip
var pack string

// Credit is the attribution that the photographs' licence asks for. The README beside the
// pack has the licence.
const Credit = "Caltech-101 (Li, Andreetto, Ranzato, Perona 2004), CaltechDATA, https://doi.org/10.22002/D1.20086, CC BY 4.0"

// Files returns the photographs as files: train and val, each with a folder for each category.
func Files() (fs.FS, error) {
	z, err := zip.NewReader(strings.NewReader(pack), int64(len(pack)))
	if err != nil {
		return nil, fmt.Errorf("sample: %w", err)
	}
	return z, nil
}

// Open returns the photographs.
func Open() (train, val *dataset.Dataset, err error) {
	files, err := Files()
	if err != nil {
		return nil, nil, err
	}
	if train, val, err = dataset.Open(context.Background(), ".", dataset.OpenOptions{FS: files}); err != nil {
		return nil, nil, fmt.Errorf("sample: %w", err)
	}
	const name = "caltech101-sample"
	train.Name, val.Name = name+"/train", name+"/val"
	return train, val, nil
}
