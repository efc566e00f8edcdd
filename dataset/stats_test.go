package dataset

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/verydeep/vgg/preprocess"
)

func TestSurveyStatistics(t *testing.T) {
	defer goleak.VerifyNone(t)
	d, _ := pictures(t, 23, 4, 9)
	var sum [3]float64
	var pixels int64
	for i := range d.Samples {
		if im, err := d.Decode(t.Context(), i, DecodeOptions{}); err == nil {
			for k, v := range im.Pix {
				sum[k%3] += float64(v)
			}
			pixels += int64(im.W * im.H)
		}
	}
	var first preprocess.Stats
	for _, workers := range []int{0, 1, 2, 7, 50} {
		calls := 0
		survey, err := ComputeSurvey(context.Background(), d, StatsOptions{Workers: workers, Progress: func(done, total int64) {
			if calls++; done != int64(calls) || total != 23 {
				t.Errorf("progress %d of %d, want %d of 23", done, total, calls)
			}
		}})
		s := survey.Stats
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

func TestComputeSurveyErrors(t *testing.T) {
	defer goleak.VerifyNone(t)
	d, fsys := pictures(t, 50)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := ComputeSurvey(ctx, d, StatsOptions{Workers: 2, Progress: func(done, _ int64) {
		if done == 3 {
			cancel()
		}
	}})
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
		if _, err := ComputeSurvey(context.Background(), c.d, StatsOptions{Workers: c.workers}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want it to say %q", err, c.want)
		}
	}
}

func TestComputeSurvey(t *testing.T) {
	d, _ := pictures(t, 23, 4, 9)
	d.Titles = []string{"ant", "bee", "cat"}
	s, err := ComputeSurvey(context.Background(), d, StatsOptions{Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	var width, height, short []int
	for i := range d.Samples {
		if w, h := 12+i%5, 10+i%7; i != 4 && i != 9 {
			width, height, short = append(width, w), append(height, h), append(short, min(w, h))
		}
	}
	for name, c := range map[string]struct {
		got Distribution
		of  []int
	}{"width": {s.Width, width}, "height": {s.Height, height}, "short side": {s.ShortSide, short}} {
		slices.Sort(c.of)
		sum := 0
		for _, v := range c.of {
			sum += v
		}
		// Of 21 values, 5 % are two and 95 % twenty.
		if want := (Distribution{c.of[0], c.of[1], c.of[10], c.of[19], c.of[20], float64(sum) / 21}); c.got != want {
			t.Errorf("%s: %+v, want %+v", name, c.got, want)
		}
	}
	if want := []ClassCount{{"a", "ant", 8}, {"b", "bee", 8}, {"c", "cat", 7}}; !slices.Equal(s.Classes, want) {
		t.Errorf("classes %+v, want %+v", s.Classes, want)
	}
	if s.Images != 21 || len(s.Unreadable) != 2 || s.Unreadable[0].Name != "b/004.png" || !strings.Contains(s.Unreadable[1].Err.Error(), "text") {
		t.Errorf("%d images, unreadable %+v", s.Images, s.Unreadable)
	}
	if one := distribution([]int{7}); one != (Distribution{7, 7, 7, 7, 7, 7}) {
		t.Errorf("distribution of one value: %+v", one)
	}
}
