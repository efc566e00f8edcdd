package train

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/resources"
)

// frozenOptions are of a run that learns a head on frozen convolutions, of two crops an image.
func frozenOptions(t *testing.T) Options {
	o := withHead(t, resumeOptions(t), "gap L2 FC")
	o.Train, o.Val = colours(t, "train", 10, 3), colours(t, "val", 6, 1)
	o.Recipe.Epochs, o.Recipe.Views, o.Recipe.Freeze = 5, 2, []string{"conv*"}
	return o
}

// TestKeptFeatures: keeping what frozen layers make of the crops, ranks, micro-batches and
// interruptions change no bit.
func TestKeptFeatures(t *testing.T) {
	whole := frozenOptions(t)
	mustRun(t, whole)
	for what, change := range map[string]func(*Options){
		"nothing kept": func(o *Options) { o.CacheBytes = NoCache },
		"two ranks":    func(o *Options) { o.Ranks = 2 },
		"in parts":     func(o *Options) { o.Batch = 1 },
	} {
		o := frozenOptions(t)
		want := whole.Dir
		if what == "two ranks" { // which need two groups
			first := frozenOptions(t)
			first.Recipe.Groups = 2
			mustRun(t, first)
			o.Recipe.Groups, want = 2, first.Dir
		}
		change(&o)
		mustRun(t, o)
		sameRun(t, what, o.Dir, want)
	}
	for _, at := range []int{1, 4, 8, 11} {
		o := frozenOptions(t)
		stopAt(t, o, at)
		o.Resume = true
		mustRun(t, o)
		sameRun(t, fmt.Sprintf("stopped at iteration %d", at), o.Dir, whole.Dir)
	}
}

// TestKeptFeaturesOnce: every crop goes through the frozen layers once.
func TestKeptFeaturesOnce(t *testing.T) {
	o := frozenOptions(t)
	r, err := newRun(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.abandon()
	for epoch := 1; epoch <= 4; epoch++ {
		for b, err := range r.trainBatches(t.Context(), epoch, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if kept := epoch > 2; kept != (b.Wait == 0) { // a loader's batch is waited for
				t.Errorf("epoch %d: kept %v, waited %v", epoch, kept, b.Wait)
			}
		}
	}
	if n := len(r.trainFeatures.kept); n != 2 {
		t.Errorf("%d views are kept, want 2", n)
	}
}

// TestFrontOpens: the network that was trained by parts opens and runs as a whole.
func TestFrontOpens(t *testing.T) {
	o := frozenOptions(t)
	res := mustRun(t, o)
	m, err := vgg.Open(t.Context(), res.BestWeights, vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	missed := 0
	for i, s := range o.Val.Samples {
		data, err := o.Val.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			continue // unreadable
		}
		p, err := m.ClassifyReader(bytes.NewReader(data), 1)
		if err != nil {
			t.Fatal(err)
		}
		if p[0].Index != s.Label {
			missed++
		}
	}
	if got := float64(missed) / 5; math.Abs(got-res.Top1Error) > 1e-9 {
		t.Errorf("top-1 error %v of the saved network, the run says %v", got, res.Top1Error)
	}
}

// TestFrontBytes: the frozen layers' output may take more than decoded images where nothing bounds
// memory, and leaves the loader no more than it had.
func TestFrontBytes(t *testing.T) {
	const cache = dataset.DefaultCacheBytes
	for _, c := range []struct{ cache, memory, want int64 }{
		{cache, 0, max(cache, resources.Machine()/8)},
		{cache - 1, 0, cache - 1},
		{0, 0, 0},
		{cache, 1 << 30, 64 << 20},
		{cache, 1 << 40, cache},
	} {
		if got := frontBytes(c.cache, c.memory); got != c.want {
			t.Errorf("%d bytes of images, %d of memory: %d, want %d", c.cache, c.memory, got, c.want)
		}
	}
	data := colours(t, "train", 10, 3)
	shape := nn.Shape{C: 8, H: 2, W: 2}
	for _, c := range []struct {
		room, cache, want int64
		keeps             bool
	}{
		{4 * 8 * 2 * 2 * 10 * 3, 1000, dataset.NoCache, true},
		{4*8*2*2*10*3 + 500, 1000, 500, true},
		{1 << 30, 1000, 1000, true},
		{4*8*2*2*10*3 - 1, 1000, 1000, false},
	} {
		l := &dataset.Loader{Data: data, Views: 3, Train: true, CacheBytes: c.cache}
		if f := newFeatures(nil, shape, l, c.room); f.keeps != c.keeps || l.CacheBytes != c.want {
			t.Errorf("%d bytes: kept %v, %d of images; want %v, %d", c.room, f.keeps, l.CacheBytes, c.keeps, c.want)
		}
	}
}
