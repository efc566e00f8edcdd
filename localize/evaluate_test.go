package localize

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

func locator(t testing.TB, classifiers int, regressions ...vgg.Regression) *Locator {
	l := &Locator{Threshold: MergeThreshold}
	for i, r := range regressions {
		l.Nets = append(l.Nets, Net{Model: tinyModel(t, r, uint64(i))})
	}
	for i := range classifiers {
		l.Classifiers = append(l.Classifiers, tinyModel(t, "", uint64(100+i)))
	}
	return l
}

// TestResult: what a hand-made set of answers comes to.
func TestResult(t *testing.T) {
	l := locator(t, 1, vgg.PCR)
	full := [][4]float64{{0, 0, 100, 100}}
	small := [][4]float64{{0, 0, 30, 30}, {60, 60, 80, 80}}
	right, half, wrong := [4]float64{0, 0, 100, 90}, [4]float64{0, 0, 100, 50}, [4]float64{50, 50, 60, 60}
	rec := func(label int, truths [][4]float64, given [4]float64, top ...Detection) *Record {
		return &Record{File: "f", Label: label, W: 100, H: 100, Truths: truths, Given: given, GivenIoU: bestIoU(given, truths), Top: top}
	}
	records := []*Record{
		rec(0, full, right, Detection{Class: 0, Box: right}, Detection{Class: 1, Box: right}), // all right
		rec(0, full, half, Detection{Class: 1, Box: right}, Detection{Class: 0, Box: right}),  // IoU of one half is too little; second class right
		rec(0, full, right, Detection{Class: 0, Box: wrong}),                                  // class right, its box wrong
		rec(1, small, [4]float64{61, 60, 80, 80}, Detection{Class: 0, Box: right}),            // the second of two boxes; class wrong
		{File: "bad", Error: "why"},
	}
	data := &dataset.Dataset{Name: "hand", Classes: []string{"blue", "red"}} // in another order than the network's
	r, err := l.result(data, records, 7, []int{1, 0}, eval.Dense)
	if err != nil {
		t.Fatal(err)
	}
	if r.Images != 4 || r.Unreadable != 1 || r.Without != 7 || r.Error != 0.25 || math.Abs(r.MeanIoU-(0.9+0.5+0.9+0.95)/4) > 1e-12 {
		t.Errorf("%+v", r)
	}
	if r.Top1.Error != 0.75 || r.Top5.Error != 0.5 || r.Top1.ClassError != 0.5 || r.Top5.ClassError != 0.25 {
		t.Errorf("top-1 %+v, top-5 %+v", r.Top1, r.Top5)
	}
	if c := r.Classes; c[0].Class != "blue" || c[0].Images != 1 || c[0].Error != 0 || c[1].Images != 3 || math.Abs(c[1].Error-1.0/3) > 1e-12 {
		t.Errorf("classes %+v", c)
	}
	var sizes []int
	for _, s := range r.Sizes {
		sizes = append(sizes, s.Images)
	}
	if want := []int{1, 0, 0, 0, 3}; !reflect.DeepEqual(sizes, want) {
		t.Errorf("sizes %v, want %v", sizes, want)
	}
	// Whole image: three right. Mean box (20…70): IoU 0.25 with all of it. Class boxes:
	// red has 10…60, blue 30…90.
	if b := r.Baselines; b[0].Error != 0.25 || b[1].Error != 1 || math.Abs(b[1].MeanIoU-(3*0.25+metrics.IoU([4]float64{20, 20, 70, 70}, small[1]))/4) > 1e-12 || b[2].Name != "mean box of the class" {
		t.Errorf("baselines %+v", b)
	}
	text, err := json.Marshal(r)
	if err != nil || !bytes.Contains(text, []byte(`"from":0.1,"to":0.25,"images":0,"gt_class_error":null`)) {
		t.Errorf("%s, %v", text, err)
	}
	for _, rec := range records {
		rec.Error = "gone"
	}
	if _, err := l.result(data, records, 0, []int{0, 1}, eval.Centre); err == nil || !strings.Contains(err.Error(), "none of 5 images is readable") {
		t.Errorf("nothing readable: %v", err)
	}
}

// TestEvaluateCountsOnce: every image is counted once: with a box, without, unreadable.
func TestEvaluateCountsOnce(t *testing.T) {
	d := squares(t, "squares", 12, 4)
	d.Samples[7].Boxes = nil
	for _, p := range []eval.Protocol{eval.Centre, eval.Dense, eval.MultiCrop} {
		l := locator(t, 1, vgg.PCR)
		told := int64(0)
		r, err := Evaluate(t.Context(), l, d, EvalOptions{Protocol: p, OnImage: func(done, total int64) {
			if total != 11 || done != told+1 {
				t.Errorf("%d of %d told after %d", done, total, told)
			}
			told = done
		}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Images != 10 || r.Unreadable != 1 || r.Without != 1 || r.Bad[0].Name != "004.png" || told != 11 {
			t.Errorf("%v: %d images, %d unreadable %v, %d without", p, r.Images, r.Unreadable, r.Bad, r.Without)
		}
		if (r.Top5 != nil) != (p != eval.Centre) {
			t.Errorf("%v: top-5 %v", p, r.Top5)
		}
		for _, rec := range r.Records {
			for _, b := range append([][4]float64{rec.Given}, boxesOf(rec.Top)...) {
				if rec.Error == "" && !(b[0] >= 0 && b[1] >= 0 && b[2] <= float64(rec.W) && b[3] <= float64(rec.H)) {
					t.Errorf("%s: box %v beyond %d×%d", rec.File, b, rec.W, rec.H)
				}
			}
		}
	}
}

func boxesOf(ds []Detection) (boxes [][4]float64) {
	for _, d := range ds {
		boxes = append(boxes, d.Box)
	}
	return boxes
}

// TestDenseScores: a box's score is the sum of the classifiers' posteriors in its
// windows, the classes are the most probable ones, and several networks' boxes come
// together.
func TestDenseScores(t *testing.T) {
	l := locator(t, 2, vgg.SCR, vgg.PCR)
	l.Nets[0].Scales, l.Nets[1].Scales = []int{36, 48}, []int{48}
	im := preprocess.NewImage(64, 50)
	for i := range im.Pix {
		im.Pix[i] = uint8(i * 40503 >> 5)
	}
	a, err := l.Dense(t.Context(), im)
	if err != nil {
		t.Fatal(err)
	}
	places := func(q int) int {
		w, h := preprocess.ShortSide(64, 50, q)
		return ((w-32)/8 + 1) * ((h-32)/8 + 1)
	}
	if want := places(36) + 2*places(48); len(a.windows) != want {
		t.Fatalf("%d windows, want %d", len(a.windows), want)
	}
	// The classifier's own maps, place by place.
	var want [][]float32
	for _, q := range []int{36, 48, 48} {
		maps := make([]eval.ScoreMap, 2)
		for i, c := range l.Classifiers {
			m, err := eval.ScoreMaps(t.Context(), c, im, []int{q})
			if err != nil {
				t.Fatal(err)
			}
			maps[i] = m[0]
		}
		n := places(q)
		for at := range n {
			want = append(want, eval.Mean(column(maps[0].Posteriors, n, at), column(maps[1].Posteriors, n, at)))
		}
	}
	for i, w := range a.windows {
		if !reflect.DeepEqual(w.posterior, want[i]) {
			t.Fatalf("window %d: posterior %v, want %v", i, w.posterior, want[i])
		}
	}
	for class := range 2 {
		sum, merged := 0.0, 0.0
		for _, d := range a.Unmerged(class) {
			sum += d.Score
		}
		boxes := a.Boxes(class)
		for i, d := range boxes {
			merged += d.Score
			if i > 0 && d.Score > boxes[i-1].Score {
				t.Error("not the best first")
			}
		}
		if math.Abs(sum-merged) > 1e-9 || sum == 0 {
			t.Errorf("class %d: scores sum to %v, before merging to %v", class, merged, sum)
		}
	}
	top := a.Top(5)
	if len(top) != 2 || top[0].Class != metrics.TopK(a.Posterior, 1)[0] || top[0].Box != a.Boxes(top[0].Class)[0].Box {
		t.Errorf("top %+v", top)
	}
}

// TestMultiCropAndDense: with 1×1 filters a window is a crop by itself, so that on an
// image as large as one window both protocols have the same box and posterior.
func TestMultiCropAndDense(t *testing.T) {
	const row = "1x16 M 1x16 M 1x16 M FC16 FC"
	l := &Locator{Threshold: MergeThreshold, Nets: []Net{{Model: tinyModel(t, vgg.PCR, 5, row), Scales: []int{32}}}, Classifiers: []*vgg.Model{tinyModel(t, "", 6, row)}}
	im := preprocess.NewImage(50, 50)
	for i := range im.Pix {
		im.Pix[i] = uint8(i * 40503 >> 4)
	}
	dense, err := l.Dense(t.Context(), im)
	if err != nil {
		t.Fatal(err)
	}
	crops, err := l.MultiCrop(t.Context(), im)
	if err != nil {
		t.Fatal(err)
	}
	if len(dense.windows) != 1 || len(crops.windows) != 25 { // 25 times the same
		t.Fatalf("%d windows, %d crops", len(dense.windows), len(crops.windows))
	}
	for i := range 2 {
		if math.Abs(float64(dense.Posterior[i]-crops.Posterior[i])) > 1e-6 {
			t.Errorf("posteriors %v and %v", dense.Posterior, crops.Posterior)
		}
		a, b := dense.Boxes(i), crops.Boxes(i)
		if len(a) != len(b) || len(a) > 0 && (!closeTo(a[0].Box, b[0].Box, 1e-3) || math.Abs(25*a[0].Score-b[0].Score) > 1e-4) {
			t.Errorf("boxes %v and %v", a, b)
		}
	}
	// At a larger scale each crop is what the network gives of it by itself.
	l.Nets[0].Scales = []int{48}
	if crops, err = l.MultiCrop(t.Context(), im); err != nil {
		t.Fatal(err)
	}
	seen := map[[2]int]bool{}
	for _, w := range crops.windows {
		seen[[2]int{w.view.X, w.view.Y}] = true
	}
	if len(seen) != 25 || !seen[[2]int{0, 16}] || !seen[[2]int{8, 4}] {
		t.Errorf("crops at %v", seen)
	}
	l.Classifiers[0].Net, err = network.New(network.Options{Config: row, Classes: 2, Width: 1, FC: 16, Input: 40})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.MultiCrop(t.Context(), im); err == nil || !strings.Contains(err.Error(), "input sides 32 and 40") {
		t.Errorf("networks of two sizes: %v", err)
	}
}

// TestClassifierInAnotherOrder: classes go by their names.
func TestClassifierInAnotherOrder(t *testing.T) {
	l := locator(t, 1, vgg.PCR)
	l.Nets[0].Scales = []int{48}
	im := preprocess.NewImage(64, 50)
	for i := range im.Pix {
		im.Pix[i] = uint8(i * 40503 >> 5)
	}
	want, err := l.Dense(t.Context(), im)
	if err != nil {
		t.Fatal(err)
	}
	l.Classifiers[0].Classes = []string{"blue", "red"}
	got, err := l.Dense(t.Context(), im)
	if err != nil {
		t.Fatal(err)
	}
	turned := func(p []float32) []float32 { return []float32{p[1], p[0]} }
	if !reflect.DeepEqual(got.Posterior, turned(want.Posterior)) {
		t.Errorf("posterior %v, want %v turned round", got.Posterior, want.Posterior)
	}
	for i := range want.windows {
		if !reflect.DeepEqual(got.windows[i].posterior, turned(want.windows[i].posterior)) {
			t.Errorf("window %d: %v, want %v turned round", i, got.windows[i].posterior, want.windows[i].posterior)
		}
	}
}

// TestClassifierOfAnotherSize: windows are matched by their centres.
func TestClassifierOfAnotherSize(t *testing.T) {
	s := eval.ScoreMap{Window: 16, Stride: 8, OH: 1, OW: 5, Posteriors: []float32{0, 1, 2, 3, 4}}
	for x, want := range map[int]float32{0: 1, 8: 2, 16: 3, 32: 4, 11: 2, 13: 3} {
		if got := posteriorAt(s, dataset.View{X: x, Side: 32})[0]; got != want {
			t.Errorf("window of 32 from %d on: place %g, want %g", x, got, want)
		}
	}
}

func TestEvaluateGoesOn(t *testing.T) {
	d := squares(t, "squares", 9, 4)
	file := filepath.Join(t.TempDir(), "boxes.jsonl")
	l := locator(t, 1, vgg.SCR)
	whole, err := Evaluate(t.Context(), l, d, EvalOptions{Protocol: eval.Dense})
	if err != nil {
		t.Fatal(err)
	}
	o := EvalOptions{Protocol: eval.Dense, Out: file, RunID: "a"}
	ctx, cancel := context.WithCancel(t.Context())
	o.OnImage = func(done, _ int64) {
		if done == 6 {
			cancel()
		}
	}
	if _, err := Evaluate(ctx, l, d, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	cut, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, cut[:len(cut)-9], 0o666); err != nil { // as a full disk leaves it
		t.Fatal(err)
	}
	first := int64(0)
	o.OnImage = func(done, _ int64) {
		if first == 0 {
			first = done
			_, err := Evaluate(t.Context(), l, d, EvalOptions{Protocol: eval.Dense, Out: file, RunID: "a"})
			if held, ok := errors.AsType[*HeldError](err); !ok || *held != (HeldError{Path: file, PID: os.Getpid()}) {
				t.Errorf("a second run at the same time: %v, want a HeldError", err)
			}
		}
	}
	r, err := Evaluate(t.Context(), l, d, o)
	if err != nil {
		t.Fatal(err)
	}
	if first != 5 { // five were whole, one of them unreadable and not kept
		t.Errorf("the first image told is number %d", first)
	}
	whole.Records, r.Records = nil, nil
	got, errA := json.Marshal(r)
	want, errB := json.Marshal(whole)
	if errA != nil || errB != nil || !bytes.Equal(got, want) || r.MeanIoU == 0 {
		t.Errorf("%s, want %s (%v, %v)", got, want, errA, errB)
	}
	for want, change := range map[string]func(*EvalOptions, *dataset.Dataset){
		"networks a, want b":             func(o *EvalOptions, _ *dataset.Dataset) { o.RunID = "b" },
		"protocol dense, want centre":    func(o *EvalOptions, _ *dataset.Dataset) { o.Protocol = eval.Centre },
		"other boxes on the same images": func(_ *EvalOptions, d *dataset.Dataset) { d.Samples[0].Boxes[0].X0++ },
	} {
		other, data := o, squares(t, "squares", 9, 4)
		change(&other, data)
		_, err := Evaluate(t.Context(), l, data, other)
		if e, ok := errors.AsType[*OtherRunError](err); !ok || e.Path != file || !strings.Contains(err.Error(), "results of another run: "+want) {
			t.Errorf("another run: %v, want an OtherRunError: %s", err, want)
		}
	}
	if err := os.WriteFile(file, []byte("notes\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = Evaluate(t.Context(), l, d, o)
	if e, ok := errors.AsType[*FormatError](err); !ok || e.Line != 1 || !strings.Contains(err.Error(), "not a file of localisation results") {
		t.Errorf("another file: %v, want a FormatError", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "notes\n" {
		t.Error("another file was written to")
	}
}

func TestUnfitNetworks(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Locator)
		want   string
	}{
		"none":          {func(l *Locator) { l.Nets = nil }, "no localisation network"},
		"a classifier":  {func(l *Locator) { l.Nets[0].Model = l.Classifiers[0] }, "network 1 is a classification network"},
		"other classes": {func(l *Locator) { l.Classifiers[0].Classes = []string{"blue", "green"} }, "other classes than the localisation network"},
		"boxes to rate": {func(l *Locator) { l.Classifiers[0] = l.Nets[0].Model }, "classifier 1 is a localisation network"},
		"too small":     {func(l *Locator) { l.Nets[0].Scales = []int{31} }, "scale 31, want at least"},
		"threshold":     {func(l *Locator) { l.Threshold = math.NaN() }, "merge threshold NaN"},
		"two, other ones": {func(l *Locator) {
			l.Nets = append(l.Nets, Net{Model: tinyModel(t, vgg.SCR, 1)})
			l.Nets[1].Model.Classes = []string{"a", "b"}
		}, "network 2 has other classes"},
	} {
		l := locator(t, 1, vgg.PCR)
		c.change(l)
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	l := locator(t, 0, vgg.PCR, vgg.PCR)
	if _, err := Evaluate(t.Context(), l, squares(t, "s", 2), EvalOptions{}); err == nil || !strings.Contains(err.Error(), "several networks or scales with the centre protocol") {
		t.Errorf("%v", err)
	}
	l = locator(t, 0, vgg.PCR)
	p := l.Nets[0].Model.Net.Params()
	if err := p[len(p)-1].Set(make([]float32, 8)); err != nil {
		t.Fatal(err)
	}
	nan := make([]float32, 8)
	nan[3] = float32(math.NaN())
	if err := p[len(p)-1].Set(nan); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []eval.Protocol{eval.Centre, eval.Dense, eval.MultiCrop} {
		if _, err := Evaluate(t.Context(), l, squares(t, "s", 2), EvalOptions{Protocol: protocol}); !errors.Is(err, eval.ErrNotFinite) {
			t.Errorf("broken weights: %v", err)
		}
	}
}

// A run goes on with a file of the first version.
func TestFirstVersion(t *testing.T) {
	text, err := os.ReadFile("testdata/version1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "r.jsonl")
	if err := os.WriteFile(path, append(text, `{"image":3,"fi`...), 0o666); err != nil {
		t.Fatal(err)
	}
	records := make([]*Record, 4)
	file, err := openResults(t.Context(), path, resultHeader{
		Format: resultFormat, Run: "3b3cd4b13d711eeb@32, merge 0.8, weights f32", Protocol: eval.Centre, Data: "data/val",
		Fingerprint: "0d8395241b3b8ca30d46d068e4336972b20f73cacec0bc7e50acb59f731f4d0c", Boxes: "53bb6ec9c4ef2af0", Images: 4, Classes: 2,
	}, records)
	if err != nil {
		t.Fatal(err)
	}
	defer file.close()
	for i, r := range records {
		if r == nil || r.Image != i || len(r.Truths) != 1 || r.Truths[0] != [4]float64{5, 6, 25, 30} || r.W+r.H != 76 {
			t.Errorf("image %d: %+v", i, r)
		}
	}
	if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, text) {
		t.Errorf("%q, %v; want the file without the line that was cut off", kept, err)
	}
}

func FuzzResults(f *testing.F) {
	h := resultHeader{Format: resultFormat, Run: "r", Data: "d", Images: 2, Classes: 2}
	head, err := json.Marshal(h)
	if err != nil {
		f.Fatal(err)
	}
	line, err := json.Marshal(Record{Image: 1, File: "f", Label: 1, W: 3, H: 4, Truths: [][4]float64{{0, 0, 1, 1}}, Top: []Detection{{Class: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(append(append(head, '\n'), line...), '\n'))
	f.Add(append(head, '\n'))
	f.Add(head)
	f.Add([]byte("x\n"))
	l := locator(f, 1, vgg.PCR)
	d := &dataset.Dataset{Name: "d", Classes: []string{"red", "blue"}}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		records := make([]*Record, 2)
		path := filepath.Join(dir, "r.jsonl")
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
		file, err := openResults(t.Context(), path, h, records)
		if err != nil {
			return
		}
		file.close()
		kept, err := os.ReadFile(path)
		if err != nil || len(kept) == 0 || kept[len(kept)-1] != '\n' {
			t.Fatalf("%q is left: %v", kept, err)
		}
		readable := 0
		for i, r := range records {
			if r == nil {
				records[i] = &Record{Error: "not done"}
			} else {
				readable++
			}
		}
		if _, err := l.result(d, records, 0, []int{0, 1}, eval.Dense); (err == nil) != (readable > 0) {
			t.Fatalf("%d images read: %v", readable, err)
		}
	})
}

// TestEvaluateRefusesResources: what an evaluation can't heed is an error, not ignored.
func TestEvaluateRefusesResources(t *testing.T) {
	d := squares(t, "squares", 4)
	l := locator(t, 1, vgg.SCR)
	for _, r := range []resources.Resources{{Batch: 2}, {Ranks: 1}, {Memory: -1}, {Workers: -1}} {
		if _, err := Evaluate(t.Context(), l, d, EvalOptions{Resources: r}); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%+v: %v, want it refused", r, err)
		}
	}
}

// A picture that changes between runs is located again, also if its size stays.
func TestChangedPicturesAreLocatedAgain(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "boxes.jsonl")
	at := time.Date(2020, 2, 3, 4, 5, 6, 7000, time.UTC)
	change := func(picture string, seed uint64, at time.Time) {
		t.Helper()
		b := vggtest.PNG(40, 44, vggtest.Noise(seed))
		vggtest.WriteFiles(t, dir, map[string][]byte{picture: append(b, make([]byte, 20_000-len(b))...)})
		if err := os.Chtimes(filepath.Join(dir, picture), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for i, picture := range []string{"red/1.png", "red/2.png", "blue/3.png"} {
		change(picture, uint64(i), at)
	}
	l := locator(t, 1, vgg.SCR)
	run := func(what string, verify bool, changed int) {
		t.Helper()
		d, _, err := dataset.Open(t.Context(), dir, dataset.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range d.Samples {
			d.Samples[i].Boxes = []dataset.Box{{Class: d.Samples[i].Label, X0: 3, Y0: 4, X1: 20, Y1: 30}}
		}
		located, remarks := 0, []string(nil)
		o := EvalOptions{Protocol: eval.Dense, Out: out, Verify: verify, OnImage: func(int64, int64) { located++ }}
		o.OnRemark = func(text string) { remarks = append(remarks, text) }
		r, err := Evaluate(t.Context(), l, d, o)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := Evaluate(t.Context(), l, d, EvalOptions{Protocol: eval.Dense})
		if err != nil {
			t.Fatal(err)
		}
		if r.MeanIoU != fresh.MeanIoU {
			t.Errorf("%s: mean IoU %v, want %v", what, r.MeanIoU, fresh.MeanIoU)
		}
		if located != changed || changed < 3 && (len(remarks) > 0) != (changed > 0) {
			t.Errorf("%s: %d pictures located, remarks %q, want %d", what, located, remarks, changed)
		}
	}
	run("nothing is there", false, 3)
	run("nothing changed", true, 0)
	change("red/2.png", 1, at.Add(time.Hour))
	run("a copy", false, 0)
	change("red/1.png", 91, at.Add(time.Hour))
	run("one picture", false, 1)
	change("blue/3.png", 93, at)
	run("one that looks as before", true, 1)
}
