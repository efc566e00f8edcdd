package eval_test

import (
	"context"
	"encoding/json"
	"errors"
	"image/color"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

func run(t *testing.T, m *vgg.Model, d *dataset.Dataset, o eval.Options) *eval.Result {
	t.Helper()
	r, err := eval.Run(t.Context(), m, d, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-5 }

// same reports whether results are equal, bit for bit.
func same(a, b *eval.Result) bool {
	return reflect.DeepEqual(a.Mistakes, b.Mistakes) && a.Loss == b.Loss && reflect.DeepEqual(a.Classes, b.Classes) &&
		a.Top1Error == b.Top1Error && a.Top5Error == b.Top5Error
}

// softmax3 is the soft-max of three scores, worked out here afresh.
func softmax3(r, g, b float64) [3]float64 {
	sum := math.Exp(r) + math.Exp(g) + math.Exp(b)
	return [3]float64{math.Exp(r) / sum, math.Exp(g) / sum, math.Exp(b) / sum}
}

// Four pictures whose scores are known: a red one, a blue one, one said to be blue
// that is red, and one that can't be read.
func TestRunByHand(t *testing.T) {
	m := tiny.Colours(1)
	d := tiny.Set(t, []string{"blue", "red"},
		tiny.Image("red", vggtest.PNG(32, 32, vggtest.Plain(color.RGBA{255, 51, 0, 255}))),
		tiny.Image("blue", vggtest.PNG(50, 32, vggtest.Plain(color.RGBA{0, 51, 255, 255}))),
		tiny.Image("blue", vggtest.PNG(32, 40, vggtest.Plain(color.RGBA{255, 51, 0, 255}))),
		tiny.Image("blue", []byte("<html>")),
	)
	reddish, bluish := softmax3(1, 0.2, 0), softmax3(0, 0.2, 1)
	for _, protocol := range []eval.Protocol{eval.Centre, eval.Dense} {
		r := run(t, m, d, eval.Options{Protocol: protocol, Mistakes: 5})
		if r.Images != 3 || r.Unreadable != 1 || r.Data != "set" || r.Protocol != protocol || !reflect.DeepEqual(r.Scales, []int{32}) {
			t.Errorf("%v: %+v", protocol, r)
		}
		if !near(r.Top1Error, 1./3) || r.Top5Error != 0 {
			t.Errorf("%v: top-1 error %v, top-5 error %v, want 1/3 and 0", protocol, r.Top1Error, r.Top5Error)
		}
		if want := -(math.Log(reddish[0]) + math.Log(bluish[2]) + math.Log(reddish[2])) / 3; !near(r.Loss, want) {
			t.Errorf("%v: loss %v, want %v", protocol, r.Loss, want)
		}
		if len(r.Classes) != 2 || r.Classes[0] != (eval.Class{"blue", 2, 1, 0.5, 0, "red"}) || r.Classes[1] != (eval.Class{"red", 1, 0, 0, 0, ""}) {
			t.Errorf("%v: classes %+v", protocol, r.Classes)
		}
		if len(r.Mistakes) != 1 || !near(float64(r.Mistakes[0].Probability), reddish[0]) {
			t.Fatalf("%v: mistakes %+v", protocol, r.Mistakes)
		}
		r.Mistakes[0].Probability = 0
		if r.Mistakes[0] != (eval.Mistake{File: "blue/2.png", Truth: "blue", Predicted: "red", Rank: 3}) {
			t.Errorf("%v: mistake %+v", protocol, r.Mistakes[0])
		}
		if len(r.Bad) != 1 || r.Bad[0].Name != "blue/3.png" || r.Bad[0].Err == nil {
			t.Errorf("%v: unreadable %v", protocol, r.Bad)
		}
	}
}

// The central crop of a picture in three colours sees the middle only; the dense
// protocol averages the class score map over all of it.
func TestProtocolsByHand(t *testing.T) {
	m := tiny.Colours(1)
	green := color.RGBA{0, 255, 0, 255}
	d := tiny.Set(t, []string{"red"}, tiny.Image("red", vggtest.PNG(96, 32, func(x, _ int) color.RGBA {
		return []color.RGBA{vggtest.Red, green, green}[x/32]
	})))
	if got, want := run(t, m, d, eval.Options{}).Loss, -math.Log(softmax3(0, 1, 0)[0]); !near(got, want) {
		t.Errorf("centre: loss %v, want %v", got, want)
	}
	if got, want := run(t, m, d, eval.Options{Protocol: eval.Dense}).Loss, -math.Log(softmax3(1./3, 2./3, 0)[0]); !near(got, want) {
		t.Errorf("dense: loss %v, want %v", got, want)
	}
}

// Posteriors, not scores, are averaged over mirror images and scales.
func TestFlipAndScalesByHand(t *testing.T) {
	m := tiny.Colours(1)
	// 65×32: the map's two columns cover pixels 0 to 63 of 65, so that the last column,
	// blue, is seen in the mirror image only.
	d := tiny.Set(t, []string{"blue"}, tiny.Image("blue", vggtest.PNG(65, 32, vggtest.Halves(64, vggtest.Red, vggtest.Blue))))
	without, with := softmax3(1, 0, 0)[2], softmax3(1, 0, 0.5)[2]
	if got := run(t, m, d, eval.Options{Protocol: eval.Dense}).Loss; !near(got, -math.Log(without)) {
		t.Errorf("loss %v, want %v", got, -math.Log(without))
	}
	r := run(t, m, d, eval.Options{Protocol: eval.Dense, Flip: true})
	if want := -math.Log((without + with) / 2); !near(r.Loss, want) || !r.Flip {
		t.Errorf("with flip: loss %v, want %v", r.Loss, want)
	}

	noisy := tiny.Random(32, 7)
	one := tiny.Set(t, []string{"b"}, tiny.Image("b", vggtest.PNG(80, 70, vggtest.Noise(1))))
	p := func(scales ...int) float64 {
		return math.Exp(-run(t, noisy, one, eval.Options{Scales: scales}).Loss)
	}
	if got, want := p(32, 48, 64), (p(32)+p(48)+p(64))/3; !near(got, want) || near(p(32), p(64)) {
		t.Errorf("probability over three scales %v, want the mean %v", got, want)
	}
}

// On images of exactly the crop's size dense evaluation is the central crop's.
func TestDenseOfOneCropIsTheCentralCrop(t *testing.T) {
	m := tiny.Random(32, 7)
	var files []tiny.File
	for i := range 9 {
		files = append(files, tiny.Image(m.Classes[i%5], vggtest.PNG(32, 32, vggtest.Noise(uint64(i)))))
	}
	d := tiny.Set(t, m.Classes, files...)
	o := eval.Options{Scales: []int{32}, Mistakes: 9}
	centre := run(t, m, d, o)
	o.Protocol = eval.Dense
	dense := run(t, m, d, o)
	dense.Protocol = eval.Centre
	if !same(centre, dense) || len(centre.Mistakes) == 0 {
		t.Errorf("centre %+v\ndense  %+v", centre, dense)
	}
}

// Whatever the batch and the number of workers, every image counts once.
func TestEveryImageCountsOnce(t *testing.T) {
	m := tiny.Random(32, 7)
	d, bad := randomSet(t)
	for _, protocol := range []eval.Protocol{eval.Centre, eval.Dense} {
		var first *eval.Result
		for _, share := range []resources.Resources{{}, {Batch: 1, Workers: 1}, {Batch: 3, Workers: 2}, {Batch: 100, Workers: 9}} {
			o := eval.Options{Resources: share}
			last := int64(0)
			o.Protocol, o.Mistakes = protocol, 100
			o.OnImage = func(done, total int64) {
				if done != last+1 || total != int64(d.Len()) {
					t.Errorf("OnImage(%d, %d) after %d", done, total, last)
				}
				last = done
			}
			r := run(t, m, d, o)
			if last != int64(d.Len()) {
				t.Errorf("OnImage was last called with %d of %d", last, d.Len())
			}
			if r.Images != d.Len()-len(bad) || r.Unreadable != len(bad) {
				t.Errorf("%d images and %d unreadable of %d, want %d unreadable", r.Images, r.Unreadable, d.Len(), len(bad))
			}
			for _, b := range r.Bad {
				if !bad[b.Name] {
					t.Errorf("%s is unreadable: %v", b.Name, b.Err)
				}
			}
			for i, n := range d.Counts() {
				if c := r.Classes[i]; c.Class != d.Classes[i] || c.Images+c.Unreadable != n {
					t.Errorf("class %+v, want %d images in all", c, n)
				}
			}
			if wrong := int(math.Round(r.Top1Error * float64(r.Images))); wrong != len(r.Mistakes) || wrong == 0 {
				t.Errorf("%d mistakes listed, %d made", len(r.Mistakes), wrong)
			}
			for i := 1; i < len(r.Mistakes); i++ {
				if r.Mistakes[i].Probability > r.Mistakes[i-1].Probability {
					t.Errorf("mistake %d is worse than the one before it", i)
				}
			}
			if first == nil {
				first = r
			} else if !same(r, first) {
				t.Errorf("%+v: another result than with the defaults", o)
			}
		}
	}
}

// Central crops are those that the model classifies by, and that the loader of the
// training's validation makes.
func TestCentreAgreesWithModelAndLoader(t *testing.T) {
	m := tiny.Random(32, 7)
	d, bad := randomSet(t)
	r := run(t, m, d, eval.Options{})
	index := map[string]int{}
	for i, c := range m.Classes {
		index[c] = i
	}
	var loss float64
	for i, s := range d.Samples {
		if bad[s.Name] {
			continue
		}
		data, err := d.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Posteriors(im, m.Preprocess.Resize)
		if err != nil {
			t.Fatal(err)
		}
		loss -= math.Log(float64(p[index[d.Classes[s.Label]]])) / float64(r.Images)
	}
	if !near(r.Loss, loss) {
		t.Errorf("loss %v, by Model.Posteriors %v", r.Loss, loss)
	}
	var ranks []int
	loader := &dataset.Loader{Data: d, Spec: m.Preprocess, Batch: 4}
	for b, err := range loader.Epoch(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Labels) == 0 {
			continue
		}
		y, err := m.Net.Forward(b.X)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range b.Labels {
			ranks = append(ranks, metrics.Rank(y.Index(i).Data, index[d.Classes[l]]))
		}
	}
	if got := metrics.TopKError(ranks, 1); len(ranks) != r.Images || got != r.Top1Error {
		t.Errorf("top-1 error %v on %d images, by dataset.Loader %v on %d", r.Top1Error, r.Images, got, len(ranks))
	}
}

// An image of very long shape has a central crop, but its class score map would take
// all memory.
func TestLongImages(t *testing.T) {
	m := tiny.Colours(1)
	d := tiny.Set(t, []string{"red"}, tiny.Image("red", vggtest.PNG(1, 20000, vggtest.Plain(vggtest.Red))), tiny.Image("red", vggtest.PNG(1, 1, vggtest.Plain(vggtest.Red))))
	if r := run(t, m, d, eval.Options{Scales: []int{256}}); r.Images != 2 || r.Top1Error != 0 {
		t.Errorf("centre: %+v", r)
	}
	r := run(t, m, d, eval.Options{Scales: []int{256}, Protocol: eval.Dense})
	if r.Images != 1 || r.Unreadable != 1 || !strings.Contains(r.Bad[0].Err.Error(), "5120000") {
		t.Errorf("dense: %+v", r)
	}
}

func TestErrors(t *testing.T) {
	m := tiny.Colours(1)
	picture := vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red))
	good := tiny.Set(t, []string{"red"}, tiny.Image("red", picture))
	twins := *m
	twins.Classes = []string{"red", "crane", "crane"}
	broken := tiny.Colours(1)
	last := broken.Net.Params()[len(broken.Net.Params())-1]
	if err := last.Set([]float32{0, float32(math.NaN()), 0}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		model *vgg.Model
		data  *dataset.Dataset
		o     eval.Options
		want  []string
	}{
		"class that the model lacks": {m, tiny.Set(t, []string{"red", "ketch"}, tiny.Image("red", picture), tiny.Image("ketch", picture)), eval.Options{}, []string{"ketch", "red, green, blue"}},
		"class of two indices":       {&twins, tiny.Set(t, []string{"crane"}, tiny.Image("crane", picture)), eval.Options{}, []string{"crane", "several"}},
		"no images":                  {m, tiny.Set(t, []string{"red"}), eval.Options{}, []string{"no images"}},
		"no data set":                {m, nil, eval.Options{}, []string{"no data set", "validation"}},
		"nothing readable":           {m, tiny.Set(t, []string{"red"}, tiny.Image("red", nil), tiny.Image("red", nil)), eval.Options{}, []string{"none of 2", "red/0.png"}},
		"scale under the input":      {m, good, eval.Options{Scales: []int{64, 31}}, []string{"31", "32"}},
		"negative batch":             {m, good, eval.Options{Resources: resources.Resources{Batch: -1}}, []string{"batch", "-1"}},
		"unknown protocol":           {m, good, eval.Options{Protocol: 7}, []string{"Protocol(7)", "centre, dense, multi-crop"}},
		"weights that diverged":      {broken, good, eval.Options{}, []string{"red/0.png", "not finite"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := eval.Run(t.Context(), test.model, test.data, test.o)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range test.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q doesn't say %q", err, w)
				}
			}
		})
	}
}

func TestCancel(t *testing.T) {
	m := tiny.Random(32, 7)
	d, _ := randomSet(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	after := int64(0)
	_, err := eval.Run(ctx, m, d, eval.Options{Resources: resources.Resources{Batch: 1}, OnImage: func(done, _ int64) {
		if done == 3 {
			cancel()
		}
		after = done
	}})
	if !errors.Is(err, context.Canceled) || after != 3 {
		t.Errorf("error %v after %d images, want it cancelled after 3", err, after)
	}
}

func TestResultJSON(t *testing.T) {
	m := tiny.Colours(1)
	d := tiny.Set(t, []string{"blue", "red"}, tiny.Image("red", vggtest.PNG(32, 32, vggtest.Plain(vggtest.Red))), tiny.Image("blue", []byte("text")))
	text, err := json.Marshal(run(t, m, d, eval.Options{Protocol: eval.Dense}))
	if err != nil {
		t.Fatal(err)
	}
	var r map[string]any
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"data", "protocol", "scales", "images", "unreadable", "top1_error", "top5_error", "loss", "classes", "mistakes", "unreadable_images"} {
		if r[key] == nil {
			t.Errorf("no %q in %s", key, text)
		}
	}
	blue := r["classes"].([]any)[0].(map[string]any)
	if e, ok := blue["top1_error"]; r["protocol"] != "dense" || !ok || e != nil || blue["unreadable"] != 1. {
		t.Errorf("protocol %v, class %v", r["protocol"], blue)
	}
	bad := r["unreadable_images"].([]any)[0].(map[string]any)
	if bad["file"] != "blue/1.png" || bad["error"] == "" {
		t.Errorf("unreadable %v", bad)
	}
}

func TestParseProtocol(t *testing.T) {
	for name, want := range map[string]eval.Protocol{"centre": eval.Centre, "center": eval.Centre, "dense": eval.Dense} {
		var p eval.Protocol
		if err := p.UnmarshalText([]byte(name)); err != nil || p != want {
			t.Errorf("%q: %v, %v; want %v", name, p, err, want)
		}
		if q, err := eval.ParseProtocol(want.String()); err != nil || q != want {
			t.Errorf("%v: its own name gives %v, %v", want, q, err)
		}
	}
	if _, err := eval.ParseProtocol("Protocol(2)"); err == nil {
		t.Error("no error for an unknown protocol")
	}
}

// TestZeroOptions: a caller who sets nothing gets the command line's evaluation, and lists that
// leave nothing out.
func TestZeroOptions(t *testing.T) {
	m := tiny.Random(32, 7)
	d, _ := randomSet(t)
	zero, byDefault := run(t, m, d, eval.Options{}), run(t, m, d, eval.DefaultOptions())
	if zero.Top1Error != byDefault.Top1Error || zero.Loss != byDefault.Loss || zero.Images != byDefault.Images {
		t.Errorf("errors %v and %v", zero.Top1Error, byDefault.Top1Error)
	}
	if n := len(byDefault.Mistakes); n == 0 || n > 10 || len(zero.Mistakes) < n || len(zero.Confusions) < len(byDefault.Confusions) {
		t.Errorf("%d mistakes by default, %d with the zero value: want ten at the most, and all", n, len(zero.Mistakes))
	}
}
