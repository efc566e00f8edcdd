package eval

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/verydeep/vgg/dataset"
)

// The fingerprint of a set has the names, labels and sizes of its images. A line has what tells
// an image from another one of the same name and size: the time of its last change, and the
// SHA-256 of its file. Files of earlier versions lack both.

// version is what a line of a result file says of the contents of an image.
type version struct {
	Modified string `json:"modified,omitempty"` // RFC 3339; empty where files have no time
	SHA256   string `json:"sha256,omitempty"`   // empty if the file changed during the run
}

// errChanged is of an image that changed after its evaluation. Another run evaluates it again;
// until it has, the image counts as unreadable.
var errChanged = errors.New("changed since it was evaluated: the same command evaluates it again")

// modified returns the time of a file's last change as lines have it; "" for none.
func modified(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// follow compares the images with what the file says of their contents, and marks as changed
// those whose contents are others; so it does to the lines to come. Contents are read where
// the time of the last change is another than the file's, or with verify always. Verify also
// marks the images of whose contents the file says nothing. It returns the number of images
// that it marked.
func (r *resultFile) follow(ctx context.Context, data *dataset.Dataset, verify bool) (marked int, err error) {
	infos, err := data.Stat(ctx)
	if err != nil {
		return 0, err
	}
	r.data, r.times = data, make([]time.Time, len(infos))
	for i, info := range infos {
		if info != nil {
			r.times[i] = info.ModTime()
		}
	}
	maps.DeleteFunc(r.versions, func(k key, v version) bool {
		return !verify && (v == version{} || v.Modified == modified(r.times[k.image]))
	})
	sums, err := r.sums(ctx)
	if err != nil {
		return 0, fmt.Errorf("eval: %w", err)
	}
	images := map[int]bool{}
	for k, v := range r.versions {
		if v.SHA256 != "" && v.SHA256 == sums[k.image] {
			continue
		}
		if err := r.put(k.net, k.image, answerTo(data.Samples[k.image], errChanged)); err != nil {
			return 0, err
		}
		images[k.image] = true
	}
	r.versions = nil
	return len(images), nil
}

// sums returns the sums of the images with versions that have one.
func (r *resultFile) sums(ctx context.Context) (map[int]string, error) {
	sums := map[int]string{}
	for k, v := range r.versions {
		if v.SHA256 != "" {
			sums[k.image] = ""
		}
	}
	images := slices.Sorted(maps.Keys(sums))
	list, err := r.data.Sums(ctx, images)
	for i, sum := range list {
		sums[images[i]] = sum
	}
	return sums, err
}

// version returns what a line says of the contents of an image that the run has just read.
func (r *resultFile) version(image int) version {
	if r.data == nil {
		return version{}
	}
	v := version{Modified: modified(r.times[image])}
	// The sum is that of the contents evaluated only if the file is the one of the beginning.
	sum, info, err := r.data.Sum(context.Background(), image)
	if err == nil && modified(info.ModTime()) == v.Modified {
		v.SHA256 = sum
	}
	return v
}

// changedRemark tells the reader of a result of images that are evaluated again.
func changedRemark(n int, path string) string {
	if n == 1 {
		return "1 image has changed since " + path + " was written: it is evaluated again"
	}
	return fmt.Sprintf("%d images have changed since %s was written: they are evaluated again", n, path)
}
