package eval

import (
	"errors"
	"fmt"
	"slices"
)

// Results is a whole evaluation read from its files: one, or those of all its shards.
type Results struct {
	Header Header // of the first file, with Shard for all
	files  []*file
	of     map[int]*file // by shard's index
}

// OpenResults reads the result files of one run: every shard once. It is an error, which
// names the file and the difference, if one is of another run, if a shard comes twice or
// not at all, and if images are missing in one.
func OpenResults(paths ...string) (_ *Results, err error) {
	r := &Results{of: map[int]*file{}}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if len(paths) == 0 {
		return nil, errors.New("eval: no result files, want at least one")
	}
	for i, path := range paths {
		f, err := openFile(path, 0)
		if err != nil {
			return nil, err
		}
		r.files = append(r.files, f)
		if i == 0 {
			r.Header = f.header
			r.Header.Shard = whole()
		} else if d := f.header.Difference(r.Header); d != "" {
			return nil, fmt.Errorf("eval: %s: results of another run than %s: %s", path, paths[0], d)
		}
		s, count := f.header.Shard, r.files[0].header.Shard.Count
		if s.Count != count {
			return nil, fmt.Errorf("eval: %s: shard %v, want one of %d", path, s, count)
		}
		if other := r.of[s.Index]; other != nil {
			return nil, fmt.Errorf("eval: %s: shard %v, which is %s already", path, s, other.path)
		}
		r.of[s.Index] = f
		if err := f.complete(); err != nil {
			return nil, err
		}
	}
	var missing []int
	for i := 1; i <= r.files[0].header.Shard.Count; i++ {
		if r.of[i] == nil {
			missing = append(missing, i)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("eval: %s: one of %d shards, want the others too: no file for %v", paths[0], r.files[0].header.Shard.Count, missing[:min(len(missing), 10)])
	}
	return r, nil
}

// complete reports images that are missing in a file.
func (r *file) complete() error {
	images := r.header.Shard.Images(r.header.Data.Images)
	for n := range r.header.Nets {
		have := 0
		for k := range r.index {
			if k.net == n {
				have++
			}
		}
		if have != images {
			return fmt.Errorf("eval: %s: %d of %d images by %s: the run was not finished; the same command goes on with it", r.path, have, images, r.header.Nets[n].Weights)
		}
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

// net is the answers of one network.
func (r *Results) net(n int) source { return resultsNet{r, n} }

type resultsNet struct {
	r *Results
	n int
}

func (s resultsNet) answer(image int) (Answer, bool, error) {
	count := s.r.files[0].header.Shard.Count
	f := s.r.of[image%count+1]
	if f == nil {
		return Answer{}, false, nil
	}
	return f.net(s.n).answer(image)
}

// all is the mean over the networks.
func (r *Results) all() source {
	var m meanOf
	for n := range r.Header.Nets {
		m = append(m, r.net(n))
	}
	return m
}

// Answer returns what was found of an image, its posterior the mean over the networks.
func (r *Results) Answer(image int) (Answer, error) {
	a, ok, err := r.all().answer(image)
	if err == nil && !ok {
		err = fmt.Errorf("eval: image %d: no result", image)
	}
	return a, err
}

// Evaluate computes the errors of the whole run, the same to the bit however many files
// it came in. Of the options Mistakes and Confusions count.
func (r *Results) Evaluate(o Options) (*Result, error) {
	return evaluate(r.Header, r, whole().images(r.Header.Data.Images), o)
}

// nets lists the sources of a store's networks.
func nets(s interface{ net(int) source }, n int) []source {
	list := make([]source, n)
	for i := range list {
		list[i] = s.net(i)
	}
	return slices.Clip(list)
}
