package dataset

import (
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// Leak is a picture of the validation part that is in the training part, too. Its JSON keys
// are those of `vgg stats --json`.
type Leak struct {
	Val        string  `json:"val"`                  // Sample.Name
	Train      string  `json:"train"`                // the first such, by the order of the samples
	Difference float64 `json:"difference,omitempty"` // of near-duplicates: of the hashes that compare them, 0 to 1
}

// Leaks is the result of [FindLeaks].
type Leaks struct {
	// Checked is false if the files were not compared, because that would have taken
	// reading more than LeakOptions.MaxBytes.
	Checked bool `json:"checked"`
	// Same are files with the same bytes, one entry for each validation image.
	Same []Leak `json:"same"`
	// Near are near-duplicates, which look the same, apart from those of Same.
	Near []Leak `json:"near"`
}

// nearDifference is the largest difference of the hashes of near-duplicates. A picture that
// was rescaled or compressed again differs from itself by less, other pictures by more.
const nearDifference = 0.03

// LeakOptions chooses how [FindLeaks] looks.
type LeakOptions struct {
	// MaxBytes is the most bytes of files that are read to compare them; 0: no limit. Only
	// files of the same size are.
	MaxBytes int64
	// Near looks for near-duplicates, too, which decodes every image.
	Near bool
	// Workers is the number of goroutines; 0: GOMAXPROCS.
	Workers int
	// MaxPixels and Room are those of a [Loader].
	MaxPixels int
	Room      *resources.Room
	// Progress hears of the images read.
	Progress progress.Func
}

// FindLeaks returns the pictures of val that are in train, in the order of val. What can't be
// read is no such picture. It is an error if ctx is done.
func FindLeaks(ctx context.Context, train, val *Dataset, o LeakOptions) (Leaks, error) {
	out := Leaks{Checked: true, Same: []Leak{}, Near: []Leak{}}
	if train == nil || val == nil {
		return out, errNil
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	ofTrain, ofVal, bytes, err := sameSizes(ctx, train, val)
	if err != nil {
		return out, err
	}
	if o.MaxBytes > 0 && bytes > o.MaxBytes {
		out.Checked = false
	} else if out.Same, err = sameFiles(ctx, train, val, ofTrain, ofVal, o); err != nil {
		return out, err
	}
	if o.Near {
		out.Near, err = nearImages(ctx, train, val, out.Same, o)
	}
	return out, err
}

// sameSizes returns the samples of each part that have a file of the same size in the other
// part, and the number of their bytes.
func sameSizes(ctx context.Context, train, val *Dataset) (ofTrain, ofVal []int, bytes int64, err error) {
	sizes := func(d *Dataset) (of []int64, err error) {
		infos, err := d.Stat(ctx)
		if err != nil {
			return nil, err
		}
		of = make([]int64, len(infos))
		for i, info := range infos {
			if info != nil {
				of[i] = info.Size()
			}
		}
		return of, nil
	}
	a, err := sizes(train)
	if err != nil {
		return nil, nil, 0, err
	}
	b, err := sizes(val)
	if err != nil {
		return nil, nil, 0, err
	}
	common := func(of, other []int64) (at []int) {
		seen := make(map[int64]bool, len(other))
		for _, n := range other {
			seen[n] = n > 0
		}
		for i, n := range of {
			if seen[n] {
				at = append(at, i)
				bytes += n
			}
		}
		return at
	}
	return common(a, b), common(b, a), bytes, nil
}

// sameFiles returns the validation files with the bytes of a training file.
func sameFiles(ctx context.Context, train, val *Dataset, ofTrain, ofVal []int, o LeakOptions) ([]Leak, error) {
	total := int64(len(ofTrain) + len(ofVal))
	var done atomic.Int64
	hash := func(d *Dataset, at []int) (map[[sha256.Size]byte][]int, error) {
		sums := make([][sha256.Size]byte, len(at))
		read := make([]bool, len(at))
		err := eachOf(ctx, d, at, o.Workers, func(k int) {
			if data, err := d.Read(at[k]); err == nil {
				sums[k], read[k] = sha256.Sum256(data), true
			}
			o.Progress.Report(done.Add(1), total)
		})
		found := map[[sha256.Size]byte][]int{}
		for k, i := range at {
			if read[k] {
				found[sums[k]] = append(found[sums[k]], i)
			}
		}
		return found, err
	}
	inTrain, err := hash(train, ofTrain)
	if err != nil {
		return nil, err
	}
	inVal, err := hash(val, ofVal)
	if err != nil {
		return nil, err
	}
	same := map[int]int{}
	for sum, images := range inVal {
		if twins := inTrain[sum]; len(twins) > 0 {
			for _, i := range images {
				same[i] = twins[0]
			}
		}
	}
	leaks := []Leak{}
	for _, i := range ofVal {
		if twin, ok := same[i]; ok {
			leaks = append(leaks, Leak{Val: val.Samples[i].Name, Train: train.Samples[twin].Name})
		}
	}
	return leaks, nil
}

// eachOf calls do for every index of at, from several goroutines.
func eachOf(ctx context.Context, d *Dataset, at []int, workers int, do func(k int)) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, len(at)) {
		wg.Go(func() {
			for k := next.Add(1) - 1; k < int64(len(at)) && ctx.Err() == nil; k = next.Add(1) - 1 {
				do(int(k))
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
	}
	return nil
}

// nearImages returns the validation images that look like a training image, without those
// of same.
func nearImages(ctx context.Context, train, val *Dataset, same []Leak, o LeakOptions) ([]Leak, error) {
	known := map[string]bool{}
	for _, l := range same {
		known[l.Val] = true
	}
	total := int64(train.Len() + val.Len())
	var done atomic.Int64
	hash := func(d *Dataset) ([]*looks, error) {
		of := make([]*looks, d.Len())
		all := make([]int, d.Len())
		for i := range all {
			all[i] = i
		}
		err := eachOf(ctx, d, all, o.Workers, func(i int) {
			of[i], _ = d.looks(ctx, i, DecodeOptions{DecodeOptions: preprocess.DecodeOptions{MaxPixels: o.MaxPixels}, Room: o.Room})
			o.Progress.Report(done.Add(1), total)
		})
		return of, err
	}
	a, err := hash(train)
	if err != nil {
		return nil, err
	}
	b, err := hash(val)
	if err != nil {
		return nil, err
	}
	found := make([][]Leak, val.Len())
	every := make([]int, val.Len())
	for i := range every {
		every[i] = i
	}
	err = eachOf(ctx, val, every, o.Workers, func(i int) {
		if b[i] == nil || known[val.Samples[i].Name] {
			return
		}
		best, at := nearDifference, -1
		for j, l := range a {
			if l == nil {
				continue
			}
			if n := l.difference(b[i]); n <= best {
				best, at = n, j
			}
		}
		if at >= 0 {
			found[i] = []Leak{{val.Samples[i].Name, train.Samples[at].Name, best}}
		}
	})
	leaks := slices.Concat(found...)
	if leaks == nil {
		leaks = []Leak{}
	}
	return leaks, err
}
