package dataset

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Words in the names of folders and files that are masks: pictures of which parts of another one
// belong to an object.
var (
	maskWords = []string{
		"mask", "masks", "trimap", "trimaps", "segmentation", "segmentations", "seg", "label", "labels", "annotation", "annotations", "annotated",
		"gt", "groundtruth", "superpixels",
	}
	maskSuffix = regexp.MustCompile(`(?i)^(.+?)[ _-](?:mask|masks|seg|segmentation|trimap|superpixels)(?:[ _-]?\d+)?$`)
)

// maskedWords are words of folders that hold the pictures themselves.
var maskedWords = []string{"left", "bit", "original", "originals", "rgb", "raw", "input", "inputs", "jpegimages", "jpg", "jpeg", "jpegs", "png"}

// maskFolder returns what the name of a folder of masks has beside words of masks, and whether
// it has any: "train" of "train_masks", "" of "masks".
func maskFolder(name string) (rest string, ok bool) {
	if strings.HasPrefix(strings.ToLower(name), "gtfine") || strings.HasPrefix(strings.ToLower(name), "gtcoarse") { // of Cityscapes
		return "", true
	}
	var words []string
	for _, w := range nameWords(name) {
		if slices.Contains(maskWords, w) {
			ok = true
		} else if !slices.Contains(plainWords, w) {
			words = append(words, w)
		}
	}
	return strings.Join(words, " "), ok
}

// dropMasks takes pictures of masks out of a folder's listing: files called like another image
// and "mask", and folders called like masks beside one of images with the same names.
func (s *search) dropMasks(l *listing, fsys fs.FS, dir string) {
	stems := map[string]bool{}
	for _, f := range l.images {
		stems[stem(f)] = true
	}
	l.images = slices.DeleteFunc(l.images, func(f string) bool {
		m := maskSuffix.FindStringSubmatch(stem(f))
		mask := m != nil && stems[m[1]]
		if mask {
			l.skipped = append(l.skipped, skipped{name: f, kind: kindMask, folder: false})
			l.masks = true
		}
		return mask
	})
	masked := func(name string) (string, bool) {
		var words []string
		for _, w := range nameWords(name) {
			switch {
			case slices.Contains(maskWords, w):
				return "", false
			case !slices.Contains(plainWords, w) && !slices.Contains(maskedWords, w):
				words = append(words, w)
			}
		}
		return strings.Join(words, " "), true
	}
	folders := l.folders
	l.folders = slices.DeleteFunc(slices.Clone(folders), func(f string) bool {
		rest, ok := maskFolder(f)
		if !ok {
			return false
		}
		for _, of := range folders {
			name, ok := masked(of)
			if ok && (name == rest || name == "") && !hasTables(fsys, path.Join(dir, f)) && masksOf(fsys, path.Join(dir, f), path.Join(dir, of)) {
				l.skipped = append(l.skipped, skipped{name: f, kind: kindMasks, folder: true})
				l.masks = true
				return true
			}
		}
		return false
	})
}

// hasTables reports whether a folder for tables has files that are no pictures.
func hasTables(fsys fs.FS, dir string) bool {
	if !slices.Contains(tableFolders, strings.ToLower(path.Base(dir))) {
		return false
	}
	entries, err := fs.ReadDir(fsys, dir)
	return err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return !e.IsDir() && !hidden(e.Name()) && !isImage(e.Name())
	})
}

// masksOf reports whether the first picture in or below a folder is called like one at the same
// place in another.
func masksOf(fsys fs.FS, dir, of string) bool {
	for range maxWrappers {
		entries, err := fs.ReadDir(fsys, dir)
		if err != nil {
			return false
		}
		below := ""
		for _, e := range entries {
			switch {
			case hidden(e.Name()):
			case e.IsDir() && below == "":
				below = e.Name()
			case !e.IsDir() && isImage(e.Name()):
				return hasPicture(fsys, of, stem(e.Name()))
			}
		}
		if below == "" {
			return false
		}
		dir, of = path.Join(dir, below), path.Join(of, below)
	}
	return false
}

// hasPicture reports whether a folder has an image with the name of a mask, or with its beginning.
func hasPicture(fsys fs.FS, dir, mask string) bool {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if name := stem(e.Name()); isImage(e.Name()) && (name == mask || strings.HasPrefix(mask, name+"_") || strings.HasPrefix(mask, strings.TrimSuffix(name, "_leftImg8bit")+"_")) {
			return true
		}
	}
	return false
}
