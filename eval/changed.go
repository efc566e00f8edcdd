package eval

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/verydeep/vgg/dataset"
)

// errChanged is of an image that changed after its evaluation. Another run evaluates it again;
// until it has, the image counts as unreadable.
var errChanged = errors.New("changed since it was evaluated: the same command evaluates it again")

// follow compares the images with what the file says of their contents, and marks as changed
// those whose contents are others; so it does to the lines to come. With verify it reads the
// contents of all, as [dataset.Versions] has it. It returns the number of images that it marked.
func (r *resultFile) follow(ctx context.Context, data *dataset.Dataset, verify bool) (marked int, err error) {
	if r.follows, err = dataset.NewVersions(ctx, data); err != nil {
		return 0, err
	}
	images := map[int]bool{}
	for net := range r.header.Nets {
		of := map[int]dataset.Version{}
		for k, v := range r.versions {
			if k.net == net {
				of[k.image] = v
			}
		}
		changed, err := r.follows.Changed(ctx, slices.Sorted(maps.Keys(of)), func(image int) dataset.Version { return of[image] }, verify)
		if err != nil {
			return 0, fmt.Errorf("eval: %w", err)
		}
		for _, i := range changed {
			if err := r.put(net, i, answerTo(data.Samples[i], errChanged)); err != nil {
				return 0, err
			}
			images[i] = true
		}
	}
	r.versions = nil
	return len(images), nil
}

// version returns what a line says of the contents of an image that the run has just read.
func (r *resultFile) version(image int) dataset.Version {
	if r.follows == nil {
		return dataset.Version{}
	}
	return r.follows.Of(image)
}
