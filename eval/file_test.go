package eval_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

// twoNets is two random networks shown images in different ways.
func twoNets(t testing.TB) []eval.Net {
	t.Helper()
	m, other := tiny.Random(32, 7), tiny.Random(32, 7)
	if err := other.Net.Init(network.He, 11); err != nil {
		t.Fatal(err)
	}
	return []eval.Net{
		{Weights: "a", SHA256: "aa", Open: func() (*vgg.Model, error) { return m, nil }, Setting: eval.Setting{Protocol: eval.Dense, Scales: []int{32, 40}, Flip: true}},
		{Weights: "b", SHA256: "bb", Open: func() (*vgg.Model, error) { return other, nil }, Setting: eval.Setting{Protocol: eval.TenCrop, Scales: []int{36}}},
	}
}

// timeless is a result without what the clock said.
func timeless(r *eval.Result) *eval.Result {
	c := *r
	c.Seconds, c.ImagesPerSecond = 0, 0
	for i, b := range c.Bad {
		c.Bad[i].Err = errors.New(b.Err.Error())
	}
	return &c
}

// However many shards a set is cut into, every image counts once, and the merged result
// is that of one run, bit for bit.
func TestShardsMergeToOneRun(t *testing.T) {
	nets := twoNets(t)
	d, bad := randomSet(t)
	want, err := eval.RunNets(t.Context(), nets, d, eval.Options{Mistakes: 99, Confusions: 9})
	if err != nil {
		t.Fatal(err)
	}
	for _, count := range []int{1, 3, 5, 17} {
		var files []string
		images := 0
		for i := 1; i <= count; i++ {
			name := filepath.Join(t.TempDir(), fmt.Sprintf("%d.jsonl", i))
			shard := eval.Shard{Index: i, Count: count}
			calls := int64(0)
			r, err := eval.RunNets(t.Context(), nets, d, eval.Options{Resources: resources.Resources{Batch: i}, Out: name, Shard: shard, OnImage: func(done, total int64) {
				calls++
				if done != calls || total != int64(2*shard.Images(d.Len())) {
					t.Errorf("OnImage(%d, %d) in call %d", done, total, calls)
				}
			}})
			if err != nil && !strings.Contains(err.Error(), "none of") { // a shard of unreadable images
				t.Fatal(err)
			}
			if err == nil {
				images += r.Images
			}
			files = append(files, name)
		}
		if images != d.Len()-len(bad) {
			t.Errorf("%d shards: %d images, want %d", count, images, d.Len()-len(bad))
		}
		slices.Reverse(files)
		merged, err := eval.OpenResults(t.Context(), files...)
		if err != nil {
			t.Fatal(err)
		}
		defer merged.Close()
		got, err := merged.Evaluate(t.Context(), eval.Options{Mistakes: 99, Confusions: 9})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(timeless(got), timeless(want)) {
			t.Errorf("%d shards: %+v\nwant %+v", count, got, want)
		}
	}
}

// A run that stops anywhere goes on from its file and ends with the same result.
func TestInterruptedRunGoesOn(t *testing.T) {
	nets := twoNets(t)
	d, _ := randomSet(t)
	whole := filepath.Join(t.TempDir(), "whole.jsonl")
	want, err := eval.RunNets(t.Context(), nets, d, eval.Options{Resources: resources.Resources{Workers: 1}, Out: whole})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "part.jsonl")
	cuts := 23
	if testing.Short() {
		cuts = 5
	}
	for cut := 0; cut <= len(text); cut += len(text)/cuts + 1 { // in the header too
		if err := os.WriteFile(name, text[:cut], 0o666); err != nil {
			t.Fatal(err)
		}
		first := int64(-1)
		got, err := eval.RunNets(t.Context(), nets, d, eval.Options{Out: name, OnImage: func(done, _ int64) {
			if first < 0 {
				first = done
			}
		}})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if !reflect.DeepEqual(timeless(got), timeless(want)) {
			t.Fatalf("cut at %d: %+v\nwant %+v", cut, got, want)
		}
		if cut > len(text)/2 && first < 10 {
			t.Errorf("cut at %d: it began again at image %d", cut, first)
		}
	}

	// Interrupted by its context, again and again.
	os.Remove(name)
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		got, err := eval.RunNets(ctx, nets, d, eval.Options{Resources: resources.Resources{Batch: 2}, Out: name, OnImage: func(int64, int64) {
			if n++; n == 9 {
				cancel()
			}
		}})
		cancel()
		if errors.Is(err, context.Canceled) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(timeless(got), timeless(want)) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		return
	}
	t.Error("a hundred interruptions were not enough")
}

// While a run writes its file another one, the same or not, is refused and changes
// nothing; afterwards it goes on with it. What a killed run left is in nobody's way.
func TestOneRunWritesAFile(t *testing.T) {
	nets := twoNets(t)
	d, _ := randomSet(t)
	want, err := eval.RunNets(t.Context(), nets, d, eval.Options{})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "r.jsonl")
	if err := os.WriteFile(name+".lock", []byte("4711\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	tried := false
	got, err := eval.RunNets(t.Context(), nets, d, eval.Options{Resources: resources.Resources{Batch: 2}, Out: name, OnImage: func(done, _ int64) {
		if tried || done < 5 {
			return
		}
		tried = true
		for _, other := range [][]eval.Net{nets, nets[:1]} {
			_, err := eval.RunNets(t.Context(), other, d, eval.Options{Out: name})
			refused := fmt.Sprintf("eval: %s: another run is writing it (process %d)", name, os.Getpid())
			if err == nil || !strings.HasPrefix(err.Error(), refused) {
				t.Errorf("%d networks: %v, want %q", len(other), err, refused)
			}
			if held, ok := errors.AsType[*eval.HeldError](err); !ok || *held != (eval.HeldError{Path: name, PID: os.Getpid()}) {
				t.Errorf("%d networks: %#v, want a HeldError", len(other), err)
			}
		}
		// To read it is no crime.
		if _, err := eval.OpenResults(t.Context(), name); err == nil || !strings.Contains(err.Error(), "was not finished") {
			t.Errorf("read meanwhile: %v", err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !tried {
		t.Fatal("no image")
	}
	if !reflect.DeepEqual(timeless(got), timeless(want)) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if _, err := os.Stat(name + ".lock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lock stayed: %v", err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	again, err := eval.RunNets(t.Context(), nets, d, eval.Options{Out: name})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(timeless(again), timeless(want)) {
		t.Errorf("%+v\nwant %+v", again, want)
	}
	if after, err := os.ReadFile(name); err != nil || !bytes.Equal(after, text) {
		t.Errorf("a finished run wrote again: %v", err)
	}
}

// A file of another run is refused, and what differs is named.
func TestOtherRunsAreRefused(t *testing.T) {
	d, _ := randomSet(t)
	small := tiny.Set(t, []string{"a", "c"}, tiny.Image("a", vggtest.PNG(40, 40, vggtest.Noise(1))), tiny.Image("c", vggtest.PNG(40, 40, vggtest.Noise(2))))
	name := filepath.Join(t.TempDir(), "r.jsonl")
	if _, err := eval.RunNets(t.Context(), twoNets(t), d, eval.Options{Out: name}); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(nets []eval.Net, o *eval.Options) []eval.Net{
		"SHA-256 aa, want a with ac": func(n []eval.Net, o *eval.Options) []eval.Net { n[0].SHA256 = "ac"; return n },
		"protocol dense, want centre": func(n []eval.Net, o *eval.Options) []eval.Net {
			n[0].Protocol = eval.Centre
			return n
		},
		"scales 36, want 36, 48": func(n []eval.Net, o *eval.Options) []eval.Net { n[1].Scales = []int{36, 48}; return n },
		"flip true, want false":  func(n []eval.Net, o *eval.Options) []eval.Net { n[0].Flip = false; return n },
		"preprocessing {torchvision": func(n []eval.Net, o *eval.Options) []eval.Net {
			m, err := n[1].Open()
			if err != nil {
				t.Fatal(err)
			}
			m.Preprocess.Filter = preprocess.Bicubic
			return n
		},
		"networks: 2, want 1":                func(n []eval.Net, o *eval.Options) []eval.Net { return n[:1] },
		"shard 1/1, want 1/2":                func(n []eval.Net, o *eval.Options) []eval.Net { o.Shard = eval.Shard{Index: 1, Count: 2}; return n },
		"connected weights in f32, want f16": func(n []eval.Net, o *eval.Options) []eval.Net { n[0].FCWeights = "f16"; return n },
	} {
		o := eval.Options{Out: name}
		nets := change(twoNets(t), &o)
		_, err := eval.RunNets(t.Context(), nets, d, o)
		if e, ok := errors.AsType[*eval.OtherRunError](err); !ok || e.Path != name || !strings.Contains(e.Difference, what) {
			t.Errorf("error %v, want an OtherRunError: %q", err, what)
		}
	}
	if _, err := eval.RunNets(t.Context(), twoNets(t), small, eval.Options{Out: name}); err == nil || !strings.Contains(err.Error(), "data of 17 images, want 2") {
		t.Errorf("other data: error %v", err)
	}
}

// Posteriors come back from a file with their bits.
func TestFileKeepsBits(t *testing.T) {
	d, bad := randomSet(t)
	name := filepath.Join(t.TempDir(), "r.jsonl")
	if _, err := eval.RunNets(t.Context(), twoNets(t)[:1], d, eval.Options{Out: name}); err != nil {
		t.Fatal(err)
	}
	r, err := eval.OpenResults(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err := twoNets(t)[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range d.Samples {
		a, err := r.Answer(i)
		if err != nil {
			t.Fatal(err)
		}
		if a.File != s.Name || a.Label != s.Label || (a.Err != nil) != bad[s.Name] {
			t.Errorf("image %d: %+v", i, a)
		}
		if a.Err != nil {
			continue
		}
		one := tiny.Set(t, m.Classes, tiny.Image("a", read(t, d, i)))
		single := filepath.Join(t.TempDir(), "one.jsonl")
		if _, err := eval.RunNets(t.Context(), twoNets(t)[:1], one, eval.Options{Out: single}); err != nil {
			t.Fatal(err)
		}
		alone, err := eval.OpenResults(t.Context(), single)
		if err != nil {
			t.Fatal(err)
		}
		b, err := alone.Answer(0)
		alone.Close()
		if err != nil || !slices.Equal(a.Posterior, b.Posterior) {
			t.Errorf("image %d: %v, alone %v (%v)", i, a.Posterior, b.Posterior, err)
		}
	}
}

func TestMalformedFiles(t *testing.T) {
	d, _ := randomSet(t)
	good := filepath.Join(t.TempDir(), "good.jsonl")
	if _, err := eval.RunNets(t.Context(), twoNets(t), d, eval.Options{Out: good}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "bad.jsonl")
	for want, change := range map[string][2]string{
		"format":                   {"vgg evaluation 1", "vgg evaluation 9"},
		"shard 1/0":                {`"count":1`, `"count":0`},
		"image 99, want one of":    {`"image":3,`, `"image":99,`},
		"network 7":                {`"net":1,`, `"net":7,`},
		"label 44":                 {`"label":2,`, `"label":44,`},
		"line 2":                   {"\n{\"image\"", "\n{}\n\n{\"image\""},
		"want 5 numbers":           {`"posterior":"`, `"posterior":"","x":"`},
		"invalid character":        {`"net":0`, `"net":?`},
		"images, want at least 1":  {`"images":17`, `"images":-1`},
		"the run was not finished": {`"image":3,`, `"image":2,`},
		"protocol \"corner\"":      {`"protocol":"dense"`, `"protocol":"corner"`},
	} {
		changed := bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(changed, text) {
			t.Fatalf("no %s in the file", change[0])
		}
		if err := os.WriteFile(name, changed, 0o666); err != nil {
			t.Fatal(err)
		}
		r, err := eval.OpenResults(t.Context(), name)
		if err == nil {
			r.Close()
			t.Errorf("%s: no error", want)
		} else if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("error %q, want %q", err, want)
		}
		if e, ok := errors.AsType[*eval.FormatError](err); want != "the run was not finished" && (!ok || e.Path != name || e.Line < 1) {
			t.Errorf("error %#v, want a FormatError", err)
		}
	}
}

// A file of the first version still opens.
func TestFirstVersion(t *testing.T) {
	r, err := eval.OpenResults(t.Context(), "testdata/version1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	result, err := r.Evaluate(t.Context(), eval.Options{})
	if err != nil || result.Images != 4 || result.Unreadable != 1 || result.Top1Error != 0.5 {
		t.Errorf("%+v, %v; want half of four images wrong, and one unreadable", result, err)
	}
	a, err := r.Answer(4)
	if err != nil || a.File != "val/red/1.png" || a.Label != 1 || !slices.Equal(a.Posterior, []float32{0.41161862, 0.5883814}) {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err = r.Answer(2); err != nil || a.Err == nil || !strings.Contains(a.Err.Error(), "want JPEG, PNG") {
		t.Errorf("%+v, %v; want an unreadable image", a, err)
	}
}

// FuzzResults reads whatever bytes as a result file.
func FuzzResults(f *testing.F) {
	d := tiny.Set(f, []string{"a", "c"}, tiny.Image("a", vggtest.PNG(40, 33, vggtest.Noise(1))), tiny.Image("c", []byte("no image")))
	dir := f.TempDir()
	name := filepath.Join(dir, "seed.jsonl")
	if _, err := eval.RunNets(f.Context(), twoNets(f), d, eval.Options{Out: name}); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(dir, "r.jsonl")
		if err := os.WriteFile(name, data, 0o666); err != nil {
			t.Fatal(err)
		}
		r, err := eval.OpenResults(t.Context(), name)
		if err != nil {
			return
		}
		defer r.Close()
		_, _ = r.Evaluate(t.Context(), eval.Options{Mistakes: 3})
	})
}
