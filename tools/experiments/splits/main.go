// Splits lays out the random splits by which vgg transfer eval measures a file of descriptors, so
// that networks are trained on the same pictures:
//
//	go run ./tools/experiments/splits DESCRIPTORS.npy OUT SPLITS TRAIN TEST
//
// OUT/N/train and OUT/N/val have a folder for each class, with links to the pictures of split N.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strconv"

	"github.com/verydeep/vgg/transfer"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 6 {
		log.Fatal("usage: splits DESCRIPTORS.npy OUT SPLITS TRAIN TEST")
	}
	var numbers [3]int
	for i := range numbers {
		n, err := strconv.Atoi(os.Args[3+i])
		if err != nil {
			log.Fatal(err)
		}
		numbers[i] = n
	}
	if err := lay(os.Args[1], os.Args[2], numbers[0], numbers[1], numbers[2]); err != nil {
		log.Fatal(err)
	}
}

// seed is that of vgg transfer eval.
const seed = 0

// lay makes the folders of the splits, of so many pictures a class to train and to test on.
func lay(descriptors, out string, splits, train, test int) error {
	d, err := transfer.Open(context.Background(), descriptors)
	if err != nil {
		return err
	}
	defer d.Close()
	for n := range splits {
		s, err := d.RandomSplit(train, test, seed, n)
		if err != nil {
			return err
		}
		for part, rows := range map[string][]int{"train": s.Train, "val": s.Test} {
			for _, r := range rows {
				row := d.Rows[r]
				folder := filepath.Join(out, strconv.Itoa(n+1), part, d.Header.Data.Classes[row.Labels[0]])
				if err := link(filepath.Join(d.Header.Data.Name, row.File), folder); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// link makes a link to a picture in a folder, once.
func link(picture, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	picture, err := filepath.Abs(picture)
	if err != nil {
		return err
	}
	err = os.Symlink(picture, filepath.Join(folder, filepath.Base(picture)))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("splits: %w", err)
	}
	return nil
}
