package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg/internal/atomicfile"
)

// A .npy file and its index are two files, and no system renames both at once. A new pair
// lies beside the old one under a name of its own, index and numbers, until it is whole. Then
// the index is renamed and after it the numbers. New numbers without an index beside them
// therefore belong to the index that is already in its place: whoever opens the pair then
// reads these numbers, and whoever writes it next ends the renaming. So the pair is the old
// one or the new one at any moment.

// newSuffix names the pair that [Descriptors.Write] makes.
const newSuffix = ".new.npy"

// replacePair puts a pair in place of another.
func replacePair(from, to string) error {
	if err := atomicfile.Rename(from+indexSuffix, resolve(to+indexSuffix)); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	if err := atomicfile.Rename(from, resolve(to)); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	return nil
}

// numbersAt returns where the numbers of the pair at path are.
func numbersAt(path string) string {
	path = resolve(path)
	for _, suffix := range []string{newSuffix, workSuffix} {
		if name := path + suffix; exists(name) && !exists(name+indexSuffix) && !(suffix == workSuffix && putAside(path)) {
			return name
		}
	}
	return path
}

// settle ends the renaming of a pair that was cut short.
func settle(path string) error {
	from := numbersAt(path)
	if to := resolve(path); from != to {
		if err := atomicfile.Rename(from, to); err != nil {
			return fmt.Errorf("transfer: %w", err)
		}
	}
	return nil
}

// putAside reports whether the numbers of an update's work are on their way to beforeSuffix
// rather than to path.
func putAside(path string) bool {
	return exists(path+beforeSuffix+indexSuffix) && !exists(path+beforeSuffix)
}

// removePair removes a pair that never got into its place.
func removePair(name string) error {
	// The numbers first: without an index they would count as part of a renaming.
	for _, file := range []string{name, name + indexSuffix} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("transfer: %w", err)
		}
	}
	return nil
}

// resolve follows symbolic links.
func resolve(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
