package dataset

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/verydeep/vgg/preprocess"
)

// imageExts are the extensions of files that are images by their name. Whether such a file
// can be decoded shows when it is.
var imageExts = []string{
	".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
}

// imageKinds are the formats, for errors.
const imageKinds = "JPEG, PNG, GIF, WebP, BMP, TIFF or PNM"

// otherExts are the extensions of files that are no images; they aren't opened to see.
var otherExts = []string{
	".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".toml", ".md", ".html", ".htm", ".pdf", ".log", ".names",
	".gz", ".tgz", ".zst", ".xz", ".bz2", ".zip", ".tar", ".7z", ".rar", ".parquet", ".arrow", ".tfrecord", ".index",
	".mat", ".npy", ".npz", ".h5", ".hdf5", ".pkl", ".pt", ".pth", ".safetensors", ".onnx",
	".py", ".ipynb", ".sh", ".m", ".r", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".mp3", ".wav",
}

// isImage reports whether a file's name has the extension of an image.
func isImage(name string) bool { return slices.Contains(imageExts, strings.ToLower(path.Ext(name))) }

// headBytes is how much of a file tells its format.
const headBytes = 512

// imageFile reports whether the file at p is an image: by its extension or, if that is
// none that is known, by its first bytes. Else kind says what it is: its extension, or
// what it holds. unread is not nil if it is a picture of a format that isn't read.
func imageFile(fsys fs.FS, p string) (ok bool, kind string, unread *preprocess.FormatError) {
	ext := strings.ToLower(path.Ext(p))
	switch {
	case slices.Contains(imageExts, ext):
		return true, "", nil
	case slices.Contains(otherExts, ext):
		return false, ext, nil
	}
	f, err := fsys.Open(p)
	if err != nil {
		return false, "unreadable", nil
	}
	defer f.Close()
	head := make([]byte, headBytes)
	n, err := io.ReadFull(f, head)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return false, kindEmpty, nil
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return false, "unreadable", nil
	case preprocess.IsImage(head[:n]):
		return true, "", nil
	}
	if _, err := preprocess.ReadHeader(head[:n]); !errors.As(err, &unread) || unread.Advice() == "" {
		unread = nil
	}
	if ext == "" || ext == "."+path.Base(p) {
		ext = "without extension"
	}
	return false, ext, unread
}

// Kinds of what is skipped, beside extensions.
const (
	kindEmpty     = "empty"
	kindSpecial   = "not a regular file"
	kindName      = "name that isn't UTF-8"
	kindLoop      = "link to a folder round it"
	kindLink      = "link to a folder"
	kindRun       = "run of vgg"
	kindExplained = "picture of vgg explain"
	kindMask      = "mask of an image"
	kindMasks     = "folder of masks"
	kindOutside   = "outside class folders"
)
