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
	"github.com/verydeep/vgg/network"
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
	r, err := explain.Run(t.Context(), m, im, explain.Options{Scales: []int{64, 96}, Top: 2})
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
	if _, err := explain.Run(t.Context(), nil, nil, explain.Options{Top: 1}); !errors.Is(err, vgg.ErrNoNetwork) {
		t.Errorf("%v, want %v", err, vgg.ErrNoNetwork)
	}
}

// TestPooled: Grad-CAM of a network that pools the whole image sees each colour where it is,
// for a class of any name.
func TestPooled(t *testing.T) {
	o := network.DefaultOptions("8 GAP FC")
	o.Classes, o.Input = 2, 16
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range net.Params() {
		v := make([]float32, p.Len())
		switch p.Name {
		case "conv1_1.weight": // channel 0 is red, channel 1 is blue
			v[4], v[27+18+4] = 1, 1
		case "fc1.weight", "fc2.weight":
			v[0], v[p.Len()/2+1] = 1, 1
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	m := &vgg.Model{Net: net, Classes: []string{"red", "blue"}, Preprocess: preprocess.Spec{Name: "plain", Scale: 1, Std: [3]float32{1, 1, 1}, Crop: 16, Resize: 16}}
	im, err := preprocess.Decode(vggtest.PNG(32, 16, vggtest.Halves(16, vggtest.Red, vggtest.Blue)), preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := explain.Run(t.Context(), m, im, explain.Options{Method: explain.GradCAM, Classes: []string{"blue", "0"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Top[0].Class != "blue" || r.Top[1].Class != "red" || r.Layer != "conv1_1" {
		t.Fatalf("%+v", r)
	}
	for i, want := range [][2]float32{{0, 1}, {1, 0}} { // left and right
		heat, cols := r.Map(r.Top[i].Index, 0), r.Scales[0].Cols
		row := heat[8*cols:][:cols]
		if (row[4] > 0) != (want[0] > 0) || (row[cols-4] > 0) != (want[1] > 0) {
			t.Errorf("%s: %v on the left, %v on the right", r.Top[i].Class, row[4], row[cols-4])
		}
	}
	for want, o := range map[string]explain.Options{
		`method "magic", want one of scoremap, gradcam, saliency`: {Method: "magic"},
		`layer conv1_1 with the method saliency`:                  {Method: explain.Saliency, Layer: "conv1_1"},
		`class "green", want one of the network's: red, blue`:     {Method: explain.Saliency, Classes: []string{"green"}},
		`class "2", want one of the network's`:                    {Method: explain.Saliency, Classes: []string{"2"}},
		`layer "conv9_9", want one of conv1_1, gap1, fc`:          {Method: explain.GradCAM, Layer: "conv9_9", Top: 1},
		`a pooling before it is over the whole image`:             {Method: explain.GradCAM, Layer: "gap1", Top: 1},
	} {
		if _, err := explain.Run(t.Context(), m, im, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
		if o.Classes == nil {
			if _, err := explain.GradientBytes(m, im.W, im.H, 1, o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: the memory's error is %v, want %q", o, err, want)
			}
		}
	}
}

// TestBinary: of two classes that one output tells apart, each is the other's opposite.
func TestBinary(t *testing.T) {
	o := network.DefaultOptions("8 M FC1 SIGMOID")
	o.Classes, o.Input = 2, 16
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.Glorot, 3); err != nil {
		t.Fatal(err)
	}
	m := &vgg.Model{Net: net, Classes: []string{"no", "yes"}, Preprocess: preprocess.Spec{Name: "plain", Scale: 1, Std: [3]float32{1, 1, 1}, Crop: 16, Resize: 16}}
	im, err := preprocess.Decode(vggtest.PNG(20, 16, vggtest.Halves(10, vggtest.Red, vggtest.Blue)), preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := explain.Run(t.Context(), m, im, explain.Options{Method: explain.Saliency, Classes: []string{"no", "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	if no, yes := r.Top[0], r.Top[1]; no.Scores[0] != -yes.Scores[0] || no.Scores[0] == 0 || !slices.Equal(r.Map(0, 0), r.Map(1, 0)) {
		t.Errorf("scores %v and %v, peaks %v and %v", no.Scores, yes.Scores, no.Peaks, yes.Peaks)
	}
}
