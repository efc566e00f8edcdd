package eval_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// viewFiles returns options whose files are in a folder, one for each view of a network.
func viewFiles(t testing.TB, dir, net string, d *dataset.Dataset) eval.ViewOptions {
	t.Helper()
	print, err := dataset.Fingerprint(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return eval.ViewOptions{Fingerprint: print, File: func(v eval.View) string {
		return filepath.Join(dir, fmt.Sprintf("%s.%v.%d.%v.jsonl", net, v.Protocol, v.Scale, v.Flip))
	}}
}

// The fusion of views from result files of their own is the fusion of the networks, bit
// for bit, whatever the order of their classes in the files; what the files hold is not
// computed again.
func TestFusedViewsAreTheNetworks(t *testing.T) {
	nets := twoNets(t)
	nets[0].Setting = eval.Setting{Protocol: eval.MultiCropDense, Scales: []int{32, 40}, Flip: true}
	d, bad := randomSet(t)
	want, err := eval.RunNets(t.Context(), nets, d, eval.Options{Mistakes: -1, Confusions: -1})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for round, classes := range [][]string{nil, nil, {"e", "d", "c", "b", "a"}} {
		if round == 2 {
			dir = t.TempDir() // the order of the classes identifies a file
		}
		var fused []eval.FusedNet
		images := 0
		for _, n := range nets {
			o := viewFiles(t, dir, n.Weights, d)
			o.Classes = classes
			o.OnImage = func(done, total int64) {
				if images++; total != int64(d.Len()) {
					t.Errorf("OnImage(%d, %d), want %d images in all", done, total, d.Len())
				}
			}
			opened := 0
			open := n.Open
			n.Open = func() (*vgg.Model, error) { opened++; return open() }
			run, err := eval.OpenViews(t.Context(), n, n.Views(), d, o)
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			if err := run.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			fused = append(fused, eval.FusedNet{Run: run, Setting: n.Setting})
		}
		if todo := 2 * len(bad); round == 1 && images != todo || round != 1 && images != 2*d.Len() {
			t.Errorf("round %d: %d images through the networks, want all, or again the %d unreadable ones", round, images, todo)
		}
		got, err := eval.Fuse(t.Context(), fused...)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(timeless(got), timeless(want)) {
			t.Errorf("round %d: %+v\nwant %+v", round, got, want)
		}
		if p := eval.Top1P(got, want); p != 1 {
			t.Errorf("the same results differ with p = %v", p)
		}
		missing := fused[1]
		missing.Setting.Scales = []int{48}
		if _, err := eval.Fuse(t.Context(), missing); err == nil || !strings.Contains(err.Error(), "no results by 48:ten-crop") {
			t.Errorf("a view that no file holds: %v", err)
		}
		for _, n := range fused {
			n.Run.Close()
		}
	}
	if _, err := eval.Fuse(t.Context()); err == nil {
		t.Error("no error for the fusion of nothing")
	}
}

// A view run that was interrupted continues, and one of other weights is refused.
func TestViewRunContinues(t *testing.T) {
	net := twoNets(t)[0]
	d, _ := randomSet(t)
	o := viewFiles(t, t.TempDir(), net.Weights, d)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Ranks, o.Batch = 1, 1
	o.OnImage = func(done, _ int64) {
		if done == 5 {
			cancel()
		}
	}
	run, err := eval.OpenViews(t.Context(), net, net.Views(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	if _, err := eval.OpenViews(t.Context(), net, net.Views(), d, o); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("two runs on one file: %v", err)
	}
	run.Close()
	first := int64(0)
	o.OnImage = func(done, _ int64) {
		if first == 0 {
			first = done
		}
	}
	if run, err = eval.OpenViews(t.Context(), net, net.Views(), d, o); err != nil {
		t.Fatal(err)
	}
	if err := run.Run(t.Context()); err != nil || first < 4 {
		t.Errorf("it began again at image %d: %v", first, err)
	}
	run.Close()

	other := net
	other.SHA256 = "ee"
	if _, err := eval.OpenViews(t.Context(), other, net.Views(), d, o); err == nil || !strings.Contains(err.Error(), "SHA-256 aa, want a with ee") {
		t.Errorf("other weights: %v", err)
	}
	for want, open := range map[string]func() (*eval.ViewRun, error){
		"not a single view": func() (*eval.ViewRun, error) {
			return eval.OpenViews(t.Context(), net, []eval.View{{Protocol: eval.MultiCropDense, Scale: 32}}, d, o)
		},
		"input side 32": func() (*eval.ViewRun, error) { return eval.OpenViews(t.Context(), net, []eval.View{{Scale: 31}}, d, o) },
		"want the same": func() (*eval.ViewRun, error) {
			o := o
			o.Classes = []string{"a", "b", "c", "d", "f"}
			return eval.OpenViews(t.Context(), net, net.Views(), d, o)
		},
		"ranks: -1": func() (*eval.ViewRun, error) {
			o := o
			o.Ranks = -1
			return eval.OpenViews(t.Context(), net, net.Views(), d, o)
		},
		"memory of 1 MiB": func() (*eval.ViewRun, error) {
			o := o
			o.Memory = 1 << 20
			return eval.OpenViews(t.Context(), net, net.Views(), d, o)
		},
		"no images, want at": func() (*eval.ViewRun, error) {
			return eval.OpenViews(t.Context(), net, net.Views(), tiny.Set(t, []string{"a"}), o)
		},
	} {
		if run, err := open(); err == nil || !strings.Contains(err.Error(), want) {
			if err == nil {
				run.Close()
			}
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// Checks go by the description of the weights: a network with one is opened once, when
// its turn comes, and not at all if there is nothing to do or nothing to measure.
func TestNetworksAreOpenedOnce(t *testing.T) {
	d, _ := randomSet(t)
	nets := twoNets(t)
	opened := make([]int, len(nets))
	for i := range nets {
		m, err := nets[i].Open()
		if err != nil {
			t.Fatal(err)
		}
		nets[i].Description = &vgg.Description{Options: m.Net.Options(), Classes: m.Classes, Preprocess: m.Preprocess}
		nets[i].Open = func() (*vgg.Model, error) { opened[i]++; return m, nil }
	}
	o := eval.Options{Out: filepath.Join(t.TempDir(), "r.jsonl")}
	for _, step := range []struct {
		name string
		do   func() error
		want []int
	}{
		{"estimate", func() error { _, err := eval.Work(t.Context(), nets, d, o, false); return err }, []int{0, 0}},
		{"measurement", func() error { _, err := eval.Work(t.Context(), nets, d, o, true); return err }, []int{1, 1}},
		{"run", func() error { _, err := eval.RunNets(t.Context(), nets, d, o); return err }, []int{1, 1}},
	} {
		clear(opened)
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(opened, step.want) {
			t.Errorf("%s: networks opened %v times, want %v", step.name, opened, step.want)
		}
	}

	// The description says what the network says.
	want, err := eval.RunNets(t.Context(), twoNets(t), d, eval.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := eval.RunNets(t.Context(), nets, d, eval.Options{})
	if err != nil || !reflect.DeepEqual(timeless(got), timeless(want)) {
		t.Errorf("with descriptions: %+v, %v\nwant %+v", got, err, want)
	}
}

// Zero values list everything, negative ones nothing; the defaults are the command line's.
func TestListLengths(t *testing.T) {
	m := tiny.Random(32, 7)
	d, _ := randomSet(t)
	all, err := eval.Run(t.Context(), m, d, eval.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Mistakes) != int(all.Top1Error*float64(all.Images)+0.5) || len(all.Mistakes) < 5 || len(all.Confusions) < 2 {
		t.Fatalf("%d mistakes and %d confusions listed", len(all.Mistakes), len(all.Confusions))
	}
	for n, want := range map[int]int{-1: 0, 1: 1, 2: 2} {
		r, err := eval.Run(t.Context(), m, d, eval.Options{Mistakes: n, Confusions: n})
		if err != nil || len(r.Mistakes) != want || len(r.Confusions) != want {
			t.Errorf("%d: %d mistakes and %d confusions, %v", n, len(r.Mistakes), len(r.Confusions), err)
		}
	}
	o := eval.DefaultOptions()
	r, err := eval.Run(t.Context(), m, d, o)
	if err != nil || len(r.Mistakes) != 10 || o.Shard != (eval.Shard{Index: 1, Count: 1}) || o.Workers < 1 {
		t.Errorf("defaults %+v: %d mistakes, %v", o, len(r.Mistakes), err)
	}
}
