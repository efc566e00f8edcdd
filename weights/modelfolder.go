package weights

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// folderModels are the names of a model's file in a folder that the tools of Hugging Face,
// timm and TensorFlow.js write. Where a folder has several, they hold the same weights, and
// the first is read.
var folderModels = []string{
	"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
	"tf_model.h5", "model.json",
}

// folderSuffixes end the names of files of weights. A folder with none of folderModels must
// have exactly one such file.
var folderSuffixes = []string{
	".safetensors", ".safetensors.index.json", ".bin.index.json", ".pth", ".pt", ".ckpt", ".pth.tar", ".bin",
	".h5", ".hdf5", ".keras", ".npz", ".onnx", ".caffemodel", ".mat",
}

// NamesFile tells whether a file's name ends as that of a file of weights.
func NamesFile(name string) bool {
	return slices.ContainsFunc(folderSuffixes, func(suffix string) bool { return strings.HasSuffix(strings.ToLower(name), suffix) })
}

// folderTexts are the files beside a file of weights that describe its preprocessing or
// its classes.
var folderTexts = []string{
	"config.json", "preprocessor_config.json",
	"labels.txt", "classes.txt", "class_names.txt", "vocab.txt",
	"class_indices.json", "class_names.json", "class_to_idx.json", "idx_to_class.json", "id2label.json", "classes.json", "labels.json", "vocab.json",
}

const (
	mostFolderNames = 100_000  // names of a folder that are looked at
	mostFolderText  = 16 << 20 // bytes of a text beside a file of weights
)

// Beside returns a copy of the texts that lie beside the file of weights, by name:
// config.json, preprocessor_config.json, and lists of classes such as labels.txt and
// class_indices.json. It is empty, and not nil, unless a folder was opened.
func (f *File) Beside() map[string]string {
	m := make(map[string]string, len(f.beside))
	maps.Copy(m, f.beside)
	return m
}

// openModelFolder opens the file of weights in a folder, which open opens by its name, and
// reads the texts beside it.
func openModelFolder(ctx context.Context, name string, fsys fs.FS, open func(file string) (*File, error)) (*File, error) {
	file, err := findModel(fsys)
	if err != nil {
		if other := otherFolder(fsys); other != nil {
			other.File = name
			return nil, other
		}
		return nil, openError(name, err)
	}
	f, err := open(file)
	if err != nil {
		return nil, err
	}
	f.beside = make(map[string]string)
	for _, text := range folderTexts {
		data, err := wholefile.ReadFS(ctx, fsys, text, mostFolderText)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("weights: %s: %s: %w", name, text, pathless(err))
		}
		f.beside[text] = string(data)
	}
	return f, nil
}

// openDir opens the file of weights in a folder of the operating system. Links may lead out
// of it, as those of Hugging Face's cache do: the caller names the folder, not a file.
func openDir(ctx context.Context, dir string) (*File, error) {
	return openModelFolder(ctx, dir, os.DirFS(dir), func(file string) (*File, error) { return Open(ctx, filepath.Join(dir, file)) })
}

// openDirFS is openDir in fsys.
func openDirFS(ctx context.Context, fsys fs.FS, dir string) (*File, error) {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, openError(dir, err)
	}
	return openModelFolder(ctx, dir, sub, func(file string) (*File, error) { return OpenFS(ctx, fsys, path.Join(dir, file)) })
}

// findModel returns the name of the file of weights in a folder.
func findModel(fsys fs.FS) (string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return "", err
	}
	var names []string
	for _, e := range entries[:min(len(entries), mostFolderNames)] {
		if e.IsDir() {
			continue
		}
		names = append(names, e.Name())
	}
	for _, name := range folderModels {
		if slices.Contains(names, name) {
			return name, nil
		}
	}
	var found []string
	for _, name := range names {
		lower := strings.ToLower(name)
		if NamesFile(lower) {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 0:
		return "", errors.New("a directory, want a file, or a folder with a file of weights such as model.safetensors in it")
	case len(found) > 1:
		const most = 8
		for i := range found {
			found[i] = display(found[i])
		}
		text := strings.Join(found[:min(len(found), most)], ", ")
		if len(found) > most {
			text += fmt.Sprintf(" and %d more", len(found)-most)
		}
		return "", fmt.Errorf("a folder with %d files of weights: name one of %s", len(found), text)
	}
	return found[0], nil
}
