package explain_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/explain"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/preprocess"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// TestRun: red is on the left of the picture, blue on the right, and so they are in the maps.
func TestRun(t *testing.T) {
	m := tiny.Colours(10)
	im, err := preprocess.Decode(vggtest.PNG(128, 64, vggtest.Halves(64, vggtest.Red, vggtest.Blue)), preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := explain.Run(t.Context(), m, im, []int{64, 96}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Top) != 2 || len(r.Scales) != 2 || len(r.Top[0].AtScale) != 2 {
		t.Fatalf("%d classes at %d scales, want 2 at 2: %+v", len(r.Top), len(r.Scales), r)
	}
	maps, err := eval.ScoreMaps(t.Context(), m, im, []int{64, 96})
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range r.Top {
		var sum float32
		for i, s := range maps {
			if class.AtScale[i] != s.Posterior[class.Index] {
				t.Errorf("%s at scale %d: %v, want %v", class.Class, s.Scale, class.AtScale[i], s.Posterior[class.Index])
			}
			sum += s.Posterior[class.Index]
		}
		if d := class.Probability - sum/2; d > 1e-6 || d < -1e-6 {
			t.Errorf("%s: %v, want the mean %v", class.Class, class.Probability, sum/2)
		}
		for i, s := range r.Scales {
			row := r.Map(class.Index, i)[:s.Cols]
			left, right := row[0], row[s.Cols-1]
			if class.Class == "red" && left <= right || class.Class == "blue" && left >= right {
				t.Errorf("%s at scale %d: %v on the left, %v on the right", class.Class, s.Scale, left, right)
			}
		}
	}
	h := r.Heatmap(im, "halves.png", "colours")
	if len(h.Rows) != 2 || len(h.Columns) != 2 || !slices.Equal(h.Rows[0].Heats[1].Values, r.Map(r.Top[0].Index, 1)) {
		t.Errorf("the picture has %d rows of %d columns", len(h.Rows), len(h.Columns))
	}
	if want := fmt.Sprintf("windows of %d×%[1]d pixels", r.Scales[0].Window); !strings.Contains(h.Subtitle, want) {
		t.Errorf("subtitle %q, want %q", h.Subtitle, want)
	}
}

// TestDefaultScales are once, one and a half times and twice the weights' own.
func TestDefaultScales(t *testing.T) {
	m := tiny.Random(16, 1)
	q := m.Preprocess.Resize
	if got, want := explain.DefaultScales(m), []int{q, q * 3 / 2, 2 * q}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestNoNetwork(t *testing.T) {
	if _, err := explain.Run(t.Context(), nil, nil, nil, 1); !errors.Is(err, vgg.ErrNoNetwork) {
		t.Errorf("%v, want %v", err, vgg.ErrNoNetwork)
	}
}
