package dataset

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/verydeep/vgg/preprocess"
	"go.uber.org/goleak"
)

func TestComputeStats(t *testing.T) {
	defer goleak.VerifyNone(t)
	d, _ := pictures(t, 23, 4, 9)
	var sum [3]float64
	var pixels int64
	for i := range d.Samples {
		if im, err := d.decode(i, 0); err == nil {
			for k, v := range im.Pix {
				sum[k%3] += float64(v)
			}
			pixels += int64(im.W * im.H)
		}
	}
	var first preprocess.Stats
	for _, workers := range []int{0, 1, 2, 7, 50} {
		calls := 0
		s, err := ComputeStats(context.Background(), d, workers, func(done, total int) {
			if calls++; done != calls || total != 23 {
				t.Errorf("progress %d of %d, want %d of 23", done, total, calls)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if calls != 23 {
			t.Errorf("%d calls of progress, want 23", calls)
		}
		if workers == 0 {
			first = s
		}
		if s != first {
			t.Errorf("%d workers: %+v, want %+v", workers, s, first)
		}
	}
	if first.Pixels != pixels {
		t.Errorf("%d pixels, want %d", first.Pixels, pixels)
	}
	for c := range 3 {
		if want := sum[c] / float64(pixels); first.Mean[c]-want > 1e-9 || want-first.Mean[c] > 1e-9 {
			t.Errorf("mean of channel %d: %v, want %v", c, first.Mean[c], want)
		}
	}
}

func TestComputeStatsErrors(t *testing.T) {
	defer goleak.VerifyNone(t)
	d, fsys := pictures(t, 50)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := ComputeStats(ctx, d, 2, func(done, _ int) {
		if done == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	if n := fsys.total(); n > 5 {
		t.Errorf("%d images read, want none after the cancellation but those under way", n)
	}

	bad, _ := pictures(t, 3, 0, 1, 2)
	none := &Dataset{Name: "nothing"}
	for _, c := range []struct {
		d       *Dataset
		workers int
		want    string
	}{
		{bad, 2, "none of 3 images is readable; the first: a/000.png: "},
		{none, 2, "nothing: no samples"},
		{d, -1, "-1 workers"},
	} {
		if _, err := ComputeStats(context.Background(), c.d, c.workers, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want it to say %q", err, c.want)
		}
	}
}
