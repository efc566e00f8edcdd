// Command search lists the photographs of a folder that are most like another photograph:
//
//	search vgg16.pth photos photo.jpg
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
)

type match struct {
	path   string
	cosine float32
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("want three arguments: WEIGHTS FOLDER PHOTO")
	}
	model, err := vgg.Open(context.Background(), os.Args[1], vgg.OpenOptions{})
	check(err)
	describe := func(path string) ([]float32, error) {
		im, err := preprocess.DecodeFile(path, preprocess.DecodeOptions{Orient: model.Preprocess.Orient})
		if err != nil {
			return nil, err
		}
		return model.Descriptor(context.Background(), im)
	}
	query, err := describe(os.Args[3])
	check(err)
	paths, err := filepath.Glob(filepath.Join(os.Args[2], "*"))
	check(err)
	var found []match
	for _, path := range paths {
		descriptor, err := describe(path)
		if err != nil { // no image, or a damaged one
			log.Printf("%s: %v", path, err)
			continue
		}
		cosine := float32(0) // the descriptors' norm is 1
		for i, x := range descriptor {
			cosine += x * query[i]
		}
		found = append(found, match{path, cosine})
	}
	slices.SortStableFunc(found, func(a, b match) int { return cmp.Compare(b.cosine, a.cosine) })
	for _, m := range found[:min(5, len(found))] {
		fmt.Printf("%.3f  %s\n", m.cosine, m.path)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
