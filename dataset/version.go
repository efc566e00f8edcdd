package dataset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"
)

// The fingerprint of a dataset has the names, labels and sizes of its images. A [Version] tells
// an image from another one of the same name and size.

// Version is what a result says of the contents of an image that it is of. The zero Version
// says nothing.
type Version struct {
	Modified string `json:"modified,omitempty"` // time of the last change (RFC 3339); empty where files have none
	SHA256   string `json:"sha256,omitempty"`   // of the file; empty if it changed while it was used
}

// Versions follows the contents of the images of a run. It is safe for concurrent use.
type Versions struct {
	data  *Dataset
	times []time.Time // of the images' last changes, at the beginning of the run
	bytes []int64     // of the images' files

	mu     sync.Mutex
	sums   map[int]string // of images that Changed has read
	untold map[int]bool   // those that Changed returned though their version said nothing
}

// NewVersions looks at the time of the last change of every image.
func NewVersions(ctx context.Context, d *Dataset) (*Versions, error) {
	infos, err := d.Stat(ctx)
	if err != nil {
		return nil, err
	}
	v := &Versions{data: d, times: make([]time.Time, len(infos)), bytes: make([]int64, len(infos)), sums: map[int]string{}, untold: map[int]bool{}}
	for i, info := range infos {
		if info != nil {
			v.times[i], v.bytes[i] = info.ModTime(), info.Size()
		}
	}
	return v, nil
}

// modified returns the time of a file's last change as versions have it; "" for none.
func modified(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Bytes returns the size of an image's file; 0 if it is missing.
func (v *Versions) Bytes(image int) int64 { return v.bytes[image] }

// Modified returns the Modified of an image's version.
func (v *Versions) Modified(image int) string { return modified(v.times[image]) }

// Of returns the version of an image that the run has just used. It reads the file once more,
// to hash it.
func (v *Versions) Of(image int) Version {
	w := Version{Modified: v.Modified(image)}
	// The sum is that of the contents used only if the file is the one of the beginning.
	sum, info, err := v.data.Sum(context.Background(), image)
	if err == nil && modified(info.ModTime()) == w.Modified {
		w.SHA256 = sum
	}
	return w
}

// Changed returns those of the images whose contents are others than their version says, in
// their order. Contents are read where the time of the last change is another than the file's,
// or with verify always. Verify also returns the images of whose contents the version says
// nothing. It is an error if ctx is done.
func (v *Versions) Changed(ctx context.Context, images []int, was func(image int) Version, verify bool) ([]int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var look, changed []int
	for _, i := range images {
		if w := was(i); verify || w != (Version{}) && w.Modified != v.Modified(i) {
			look = append(look, i)
		}
	}
	var hash []int
	for _, i := range look {
		if _, known := v.sums[i]; !known && was(i).SHA256 != "" {
			hash = append(hash, i)
		}
	}
	list, err := v.data.Sums(ctx, hash)
	if err != nil {
		return nil, err
	}
	for k, i := range hash {
		v.sums[i] = list[k]
	}
	for _, i := range look {
		w := was(i)
		if w == (Version{}) {
			v.untold[i] = true
		}
		if w.SHA256 == "" || w.SHA256 != v.sums[i] {
			changed = append(changed, i)
		}
	}
	return changed, nil
}

// Remark tells the reader of a result about n images that Changed returned for the file at path:
// that they changed since it was written, or that it says nothing of their contents. again says
// what the run does with them: "evaluated again".
func (v *Versions) Remark(n int, path, again string) string {
	v.mu.Lock()
	untold := min(len(v.untold), n)
	v.mu.Unlock()
	var parts []string
	switch changed := n - untold; {
	case changed == 1:
		parts = append(parts, "1 image has changed since "+path+" was written: it is "+again)
	case changed > 1:
		parts = append(parts, fmt.Sprintf("%d images have changed since %s was written: they are %s", changed, path, again))
	}
	switch {
	case untold == 1:
		parts = append(parts, path+" says nothing of the contents of 1 image, as files of earlier versions do: it is "+again)
	case untold > 1:
		parts = append(parts, fmt.Sprintf("%s says nothing of the contents of %d images, as files of earlier versions do: they are %s", path, untold, again))
	}
	return strings.Join(parts, "; ")
}

// Times returns a hash of the times of all images' last changes, in hexadecimal, for what is made
// of all images together.
func (v *Versions) Times() string {
	w := &fieldWriter{hash: sha256.New()}
	for i := range v.times {
		w.text(v.Modified(i))
	}
	return hex.EncodeToString(w.hash.Sum(nil))
}

// Contents returns a hash of the contents of all images, in hexadecimal. It reads all of them.
func (v *Versions) Contents(ctx context.Context) (string, error) {
	images := make([]int, v.data.Len())
	for i := range images {
		images[i] = i
	}
	sums, err := v.data.Sums(ctx, images)
	if err != nil {
		return "", err
	}
	w := &fieldWriter{hash: sha256.New()}
	for _, sum := range sums {
		w.text(sum)
	}
	return hex.EncodeToString(w.hash.Sum(nil)), nil
}
