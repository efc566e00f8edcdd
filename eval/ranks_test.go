package eval_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/resources"
)

// Whatever the number of ranks, every image counts once, and the result is that of one
// rank, bit for bit; a run that was interrupted goes on with any other number.
func TestRanksKeepBits(t *testing.T) {
	nets := twoNets(t)
	d, bad := randomSet(t)
	dir := t.TempDir()
	want, err := eval.RunNets(t.Context(), nets, d, eval.Options{Resources: resources.Resources{Ranks: 1}, Mistakes: 99, Confusions: 9})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "part.jsonl")
	for _, ranks := range []int{0, 2, 3, 5, 40} {
		calls := int64(0)
		o := eval.Options{Resources: resources.Resources{Ranks: ranks}, Mistakes: 99, Confusions: 9, Out: filepath.Join(dir, "whole.jsonl")}
		o.OnImage = func(done, total int64) {
			if calls++; done != calls || total != int64(2*d.Len()) {
				t.Errorf("OnImage(%d, %d) in call %d", done, total, calls)
			}
		}
		got, err := eval.RunNets(t.Context(), nets, d, o)
		if err != nil {
			t.Fatal(err)
		}
		if calls != int64(2*d.Len()) || got.Images+got.Unreadable != d.Len() || got.Unreadable != len(bad) {
			t.Errorf("%d ranks: %d calls, %d images and %d unreadable of %d", ranks, calls, got.Images, got.Unreadable, d.Len())
		}
		if !reflect.DeepEqual(timeless(got), timeless(want)) {
			t.Errorf("%d ranks: %+v\nwant %+v", ranks, got, want)
		}
		text, err := os.ReadFile(o.Out)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(text), "\n"); lines != 1+2*d.Len() {
			t.Errorf("%d ranks: %d lines in the file, want %d", ranks, lines, 1+2*d.Len())
		}
		os.Remove(o.Out)

		// Six images more with this number of ranks, and all that is left with the next.
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_, err = eval.RunNets(ctx, nets, d, eval.Options{Resources: resources.Resources{Ranks: ranks, Batch: 1}, Out: file, OnImage: func(int64, int64) {
			if n++; n == 6 {
				cancel()
			}
		}})
		cancel()
		if n != 6 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d ranks: cancelled after %d images: %v", ranks, n, err)
		}
	}
	got, err := eval.RunNets(t.Context(), nets, d, eval.Options{Resources: resources.Resources{Ranks: 4}, Out: file, Mistakes: 99, Confusions: 9})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(timeless(got), timeless(want)) {
		t.Errorf("gone on with: %+v\nwant %+v", got, want)
	}
}

// What stops one rank stops them all.
func TestRanksStopTogether(t *testing.T) {
	m := tiny.Random(32, 7)
	for _, p := range m.Net.Params() {
		if p.Name == "fc8.bias" {
			v := make([]float32, p.Len())
			v[0] = float32(math.NaN())
			if err := p.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	d, _ := randomSet(t)
	_, err := eval.Run(t.Context(), m, d, eval.Options{Resources: resources.Resources{Ranks: 3, Batch: 1}})
	if err == nil || !strings.Contains(err.Error(), "scores that are not finite") {
		t.Errorf("error %v", err)
	}
	if _, err := eval.Run(t.Context(), m, d, eval.Options{Resources: resources.Resources{Ranks: -1}}); err == nil || !strings.Contains(err.Error(), "ranks: -1") {
		t.Errorf("error %v", err)
	}
}
