package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// TestCancelledFiles: reading and writing descriptors looks at the context, and a file that is
// not written whole leaves the earlier one.
func TestCancelledFiles(t *testing.T) {
	const images = 3 * chunkFloats / 3 // three chunks of rows
	d := made(images, 1)
	for _, ending := range []string{".npy", ".safetensors", ".jsonl"} {
		path := filepath.Join(t.TempDir(), "f"+ending)
		if err := os.WriteFile(path, []byte("earlier"), 0o666); err != nil {
			t.Fatal(err)
		}
		t.Run("Write "+ending, func(t *testing.T) {
			cause := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(cause)
			if err := d.Write(ctx, path); !errors.Is(err, cause) {
				t.Errorf("%v, want the cause", err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != "earlier" {
				t.Errorf("the earlier file: %.20q, %v", text, err)
			}
			vggtest.Cancel(t, 3, func(ctx context.Context) error { return d.Write(ctx, path) })
		})
	}
	path := filepath.Join(t.TempDir(), "f.npy")
	if err := made(100, 1).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	t.Run("Open", func(t *testing.T) {
		vggtest.Cancel(t, 100, func(ctx context.Context) error {
			d, err := Open(ctx, path)
			if err == nil {
				err = d.Close()
			}
			return err
		})
	})
	t.Run("Load", func(t *testing.T) {
		vggtest.Cancel(t, 3, func(ctx context.Context) error { _, err := d.Load(ctx); return err })
	})
	t.Run("Stack", func(t *testing.T) {
		if _, _, err := Stack(t.Context()); err == nil {
			t.Error("a stack of nothing: no error")
		}
		vggtest.Cancel(t, 6, func(ctx context.Context) error { _, _, err := Stack(ctx, d, d); return err })
	})
}

// TestCancelledSearches: a search, which several workers share, ends at the next rows.
func TestCancelledSearches(t *testing.T) {
	d, x := random(60_000, 64, false) // many pieces, so that not all are done before the first is told
	cause := errors.New("enough")
	for name, search := range map[string]func(ctx context.Context, o SearchOptions) error{
		"search":     func(ctx context.Context, o SearchOptions) error { _, err := d.Search(ctx, x[:64*3], 2, o); return err },
		"duplicates": func(ctx context.Context, o SearchOptions) error { _, err := d.Duplicates(ctx, 0.9, o); return err },
	} {
		for _, workers := range []int{1, 3} {
			t.Run(fmt.Sprint(name, " by ", workers), func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				calls := 0
				o := SearchOptions{Workers: workers, OnRows: func(int64, int64) {
					calls++
					cancel(cause)
				}}
				if err := search(ctx, o); !errors.Is(err, cause) {
					t.Errorf("%v, want the cause", err)
				}
				if calls < 1 || calls > workers {
					t.Errorf("%d pieces of rows after it was cancelled at the first, by %d workers", calls, workers)
				}
			})
		}
	}
}

// TestCancelledTraining: SVMs look at the context within a pass over the images, of which a
// large set has more than a second's.
func TestCancelledTraining(t *testing.T) {
	d, x := random(3*visitsUnwatched, 8, false)
	rows := make([]int, d.Len())
	for r := range rows {
		rows[r] = r
	}
	p := problem{X: x, Dim: 8, Rows: rows, Classes: 2, Target: func(row, class int) int8 { return int8(2*((row+class)%2) - 1) }}
	o := DefaultSVM()
	o.MaxIterations, o.Workers = 1, 1
	vggtest.Cancel(t, 4, func(ctx context.Context) error { _, err := p.train(ctx, o); return err })
}
