package eval

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/journal"
)

// Results is a whole evaluation read from its result files: one, or one for each shard.
type Results struct {
	Header Header        // of the first file, with the whole set as its Shard
	files  []*resultFile // by shard: the file of shard i/n is files[i-1]
}

// OpenResults reads the result files of one run: every shard once, in any order. It is an
// error, which names the file and the difference, if a file is of another run, if a shard
// comes twice or is missing, or if a file has no line for some of its images.
func OpenResults(ctx context.Context, paths ...string) (_ *Results, err error) {
	r := &Results{}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	var parts []journal.Part
	for _, path := range paths {
		f, err := openFile(ctx, path)
		if err != nil {
			return nil, err
		}
		r.files = append(r.files, f)
		s := f.header.Shard
		parts = append(parts, journal.Part{Path: path, Index: s.Index, Count: s.Count, Difference: f.header.difference(r.files[0].header)})
	}
	order, err := journal.Merge("results", parts)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	r.Header = r.files[0].header
	r.Header.Shard = whole()
	sorted := make([]*resultFile, len(order))
	for i, at := range order {
		sorted[i] = r.files[at]
		if err := sorted[i].complete(); err != nil {
			return nil, err
		}
	}
	r.files = sorted
	return r, nil
}

// complete returns an error if the file has no line for some of its images.
func (r *resultFile) complete() error {
	images := r.header.Shard.Images(r.header.Data.Images)
	for n := range r.header.Nets {
		have := 0
		for k := range r.index {
			if k.net == n {
				have++
			}
		}
		if have != images {
			return fmt.Errorf("eval: %s: %d of %d images by %s: %w", r.path, have, images, r.header.Nets[n].Weights, journal.ErrUnfinished)
		}
	}
	return nil
}

// Write writes the results into one file, as a run without shards writes it: a header, and the
// lines of the images in their order. The file replaces one that is there.
func (r *Results) Write(ctx context.Context, path string) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		out := bufio.NewWriter(w)
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(r.Header); err != nil {
			return err
		}
		for image := range r.Header.Data.Images {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			f := r.files[image%len(r.files)]
			for n := range r.Header.Nets {
				e, ok := f.index[key{n, image}]
				if !ok {
					return fmt.Errorf("%s: image %d: no result", f.path, image)
				}
				var l line
				if err := f.lines.Read(e.at, &l); err != nil {
					return err
				}
				if err := enc.Encode(l); err != nil {
					return err
				}
			}
		}
		return out.Flush()
	})
	if err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	return nil
}

// Close closes the files.
func (r *Results) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

// net returns the answers of one network.
func (r *Results) net(n int) source { return resultsNet{r, n} }

type resultsNet struct {
	r *Results
	n int
}

func (s resultsNet) answer(image int) (Answer, bool, error) {
	return s.r.files[image%len(s.r.files)].net(s.n).answer(image)
}

// all returns the mean over the networks.
func (r *Results) all() source {
	var m meanOf
	for n := range r.Header.Nets {
		m = append(m, r.net(n))
	}
	return m
}

// Answer returns the result for an image. Its posterior is the mean over the networks.
func (r *Results) Answer(image int) (Answer, error) {
	a, ok, err := r.all().answer(image)
	if err == nil && !ok {
		err = fmt.Errorf("eval: image %d: no result", image)
	}
	return a, err
}

// Evaluate computes the errors of the whole run. They are the same to the bit for any number
// of shards. It uses the options Mistakes, Confusions and Thresholds alone.
func (r *Results) Evaluate(ctx context.Context, o Options) (*Result, error) {
	if o.Thresholds != nil {
		if err := vgg.CheckThresholds(o.Thresholds, len(r.Header.Classes)); err != nil {
			return nil, fmt.Errorf("eval: %w", err)
		}
		if !r.Header.Data.MultiLabel {
			return nil, fmt.Errorf("eval: %s: thresholds for images of one class each, want none", r.Header.Data.Name)
		}
		r.Header.Thresholds = o.Thresholds
	}
	return evaluate(ctx, r.Header, r, whole().images(r.Header.Data.Images), o)
}

// nets returns the sources of a store's networks.
func nets(s interface{ net(int) source }, n int) []source {
	list := make([]source, n)
	for i := range list {
		list[i] = s.net(i)
	}
	return list
}
