package eval_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/preprocess"
)

// TestCancelledMaps: dense maps look at the context between scales and layers.
func TestCancelledMaps(t *testing.T) {
	m := tiny.Random(32, 7)
	layers := len(m.Net.Chain().Layers()) // some are one step with the next, in each of two passes
	im := preprocess.NewImage(60, 50)
	vggtest.Cancel(t, layers, func(ctx context.Context) error {
		_, err := eval.ScoreMaps(ctx, m, im, []int{32, 40})
		return err
	})
}

// TestCancelledResults: what reads result files looks at the context line by line.
func TestCancelledResults(t *testing.T) {
	nets := twoNets(t)
	d, _ := randomSet(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "whole.jsonl")
	if _, err := eval.RunNets(t.Context(), nets, d, eval.Options{Out: out}); err != nil {
		t.Fatal(err)
	}
	results, err := eval.OpenResults(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	defer results.Close()
	o := viewFiles(t, dir, "a", d)
	run, err := eval.OpenViews(t.Context(), nets[0], nets[0].Views(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	fused := eval.FusedNet{Run: run, Setting: nets[0].Setting}
	t.Run("Fuse", func(t *testing.T) {
		vggtest.Cancel(t, d.Len(), func(ctx context.Context) error { _, err := eval.Fuse(ctx, fused); return err })
	})
	run.Close()
	for name, work := range map[string]func(ctx context.Context) error{
		"OpenResults": func(ctx context.Context) error {
			r, err := eval.OpenResults(ctx, out)
			if err == nil {
				err = r.Close()
			}
			return err
		},
		"Evaluate": func(ctx context.Context) error { _, err := results.Evaluate(ctx, eval.Options{}); return err },
		"Compare":  func(ctx context.Context) error { _, err := eval.Compare(ctx, results, results); return err },
		"OpenViews": func(ctx context.Context) error {
			r, err := eval.OpenViews(ctx, nets[0], nets[0].Views(), d, o)
			if err == nil {
				err = r.Close()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { vggtest.Cancel(t, d.Len(), work) })
	}
}
