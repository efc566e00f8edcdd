// Package eval measures a network's classification error on a set of images by the
// paper's protocols (§3.2, §4).
//
// Errors are fractions in [0,1].
package eval

import (
	"context"
	"fmt"
	"math"
	"runtime"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
)

// Options say how images are shown to the network.
type Options struct {
	Protocol Protocol
	// Scales lists the smallest sides Q, in pixels, that an image is rescaled to; the
	// soft-max posteriors are averaged over them (§4.2). Empty: the one that the
	// weights' preprocessing names.
	Scales []int
	// Flip averages the posteriors with those of the mirrored image (§3.2).
	Flip bool
	// Mistakes is how many of the worst mistakes the result lists; 0: none.
	Mistakes int

	Batch     int // central crops that go through the network together; 0: 16
	Workers   int // images prepared at once; 0: runtime.GOMAXPROCS
	MaxPixels int // dense: images that come out larger are unreadable; 0: 2²²

	// OnImage, where set, is told how many images are done, readable or not.
	OnImage func(done, total int)
}

const (
	defaultBatch = 16
	// defaultMaxPixels keeps one image of a very long shape from taking all memory: the
	// network's widest activations take 512 bytes a pixel.
	defaultMaxPixels = 1 << 22
)

// Run evaluates a model on a set of images. Every image counts exactly once: as right,
// as wrong, or apart from both as unreadable.
//
// The set's classes are the model's of the same name, in whatever order, and may be
// fewer; one that the model doesn't know is an error. So is a set without one readable
// image, and a network whose scores are not finite.
func Run(ctx context.Context, m *vgg.Model, data *dataset.Dataset, o Options) (*Result, error) {
	o, err := o.resolve(m)
	if err != nil {
		return nil, err
	}
	if data.Len() == 0 {
		return nil, fmt.Errorf("eval: %s: no images, want at least one", data.Name)
	}
	labels, err := matchClasses(data, m.Classes)
	if err != nil {
		return nil, err
	}
	t := newTally(m.Classes, labels, data)
	batch := o.Batch
	if o.Protocol == Dense {
		batch = 1 // each image is of a size of its own
	}
	var group []prepared
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		posteriors, err := o.posteriors(m.Net, group)
		if err != nil {
			return fmt.Errorf("eval: %s: %w", data.Samples[group[0].index].Name, err)
		}
		for i, p := range posteriors {
			if err := t.add(group[i].index, p); err != nil {
				return err
			}
		}
		group = group[:0]
		return nil
	}
	done := 0
	for p := range prefetch(ctx, data.Len(), o.Workers, o.Workers+batch, func(i int) prepared { return o.prepare(m, data, i) }) {
		done++
		if p.err != nil {
			t.addBad(p.index, p.err)
		} else {
			group = append(group, p)
		}
		if len(group) == batch || done == data.Len() {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		if o.OnImage != nil {
			o.OnImage(done, data.Len())
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return t.result(o)
}

// resolve checks the options against the model and fills in what they leave open.
func (o Options) resolve(m *vgg.Model) (Options, error) {
	if err := o.Protocol.validate(); err != nil {
		return o, err
	}
	if len(o.Scales) == 0 {
		o.Scales = []int{m.Preprocess.Resize}
	}
	side := m.Net.Options().Input
	for _, q := range o.Scales {
		if q < side {
			return o, fmt.Errorf("eval: scale %d, want at least the network's input side %d", q, side)
		}
	}
	for _, f := range []struct {
		name     string
		value    *int
		fallback int
	}{
		{"batch", &o.Batch, defaultBatch},
		{"workers", &o.Workers, runtime.GOMAXPROCS(0)},
		{"pixels at most", &o.MaxPixels, defaultMaxPixels},
	} {
		if *f.value < 0 {
			return o, fmt.Errorf("eval: %s: %d, want at least 1", f.name, *f.value)
		}
		if *f.value == 0 {
			*f.value = f.fallback
		}
	}
	return o, nil
}

// matchClasses returns the model's class of each of the set's.
func matchClasses(data *dataset.Dataset, classes []string) ([]int, error) {
	index := map[string]int{}
	twice := map[string]bool{}
	for i, c := range classes {
		if _, ok := index[c]; ok {
			twice[c] = true
		}
		index[c] = i
	}
	labels := make([]int, len(data.Classes))
	for i, c := range data.Classes {
		at, ok := index[c]
		switch {
		case !ok:
			return nil, fmt.Errorf("eval: %s: class %q: the weights know no such class, want one of their %d: %s", data.Name, c, len(classes), some(classes))
		case twice[c]:
			return nil, fmt.Errorf("eval: %s: class %q: the weights have several classes of this name, want one", data.Name, c)
		}
		labels[i] = at
	}
	return labels, nil
}

// some lists the first few of many names.
func some(names []string) string {
	const most = 5
	text := ""
	for i, n := range names[:min(most, len(names))] {
		if i > 0 {
			text += ", "
		}
		text += n
	}
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// lossOf is the multinomial logistic loss of a posterior. A probability too small for a
// float32 counts as the smallest normal one, so that the mean stays finite.
func lossOf(p float32) float64 {
	const smallest = 0x1p-126
	return -math.Log(max(float64(p), smallest))
}

// decode reads an image as training does: its EXIF orientation is not followed.
func decode(data *dataset.Dataset, i int) (*preprocess.Image, error) {
	raw, err := data.Read(i)
	if err != nil {
		return nil, err
	}
	return preprocess.Decode(raw, preprocess.DecodeOptions{})
}
