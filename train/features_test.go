package train

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/verydeep/vgg"
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
