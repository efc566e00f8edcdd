package teach

import (
	"context"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/transfer"
)

// striped is a picture of one of three kinds, each with noise of its own.
func striped(kind int, seed uint64) []byte {
	noise := vggtest.Noise(seed)
	return vggtest.PNG(44, 40, func(x, y int) color.RGBA {
		n := noise(x, y)
		stripe := uint8(0)
		switch kind {
		case 0:
			stripe = uint8(x / 4 % 2 * 110)
		case 1:
			stripe = uint8(y / 4 % 2 * 110)
		case 2:
			stripe = uint8((x + y) / 6 % 2 * 110)
		}
		return color.RGBA{n.R/2 + stripe, n.G/2 + stripe, n.B/2 + stripe/2, 255}
	})
}

var kinds = []string{"upright", "level", "slanting"}

// folder writes n pictures of each kind, CLASS/N.png.
func folder(t *testing.T, dir string, n int, kinds ...string) {
	t.Helper()
	files := map[string][]byte{}
	for k, name := range kinds {
		for i := range n {
			files[fmt.Sprintf("%s/%02d.png", name, i)] = striped(k, uint64(100*k+i+1))
		}
	}
	vggtest.WriteFiles(t, dir, files)
}

func opened(t *testing.T, dir string) *transfer.Images {
	t.Helper()
	images, err := transfer.OpenImages(t.Context(), transfer.ImageOptions{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

func taught(t *testing.T, images *transfer.Images, o Options) *Result {
	t.Helper()
	r, err := Teach(t.Context(), Net("random", tiny.Random(16, 5)), images, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// decoded returns the pixels of a picture of a set.
func decoded(t *testing.T, d *dataset.Dataset, i int) *preprocess.Image {
	t.Helper()
	im, err := d.Decode(t.Context(), i, dataset.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return im.Image
}

// TestModelAnswersAsTheSVMs: for every picture the model's class is that with the SVMs' highest
// score, and its posteriors are the calibrated scores; also after it was saved and opened.
func TestModelAnswersAsTheSVMs(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, 12, kinds...)
	images := opened(t, dir)
	base := tiny.Random(16, 5)
	net := Net("random", base)
	net.Layer, net.Scales = "pool5", []int{40}
	d, x, err := transfer.Compute(t.Context(), []transfer.Net{net}, images, transfer.Options{Crop: true})
	if err != nil {
		t.Fatal(err)
	}
	l := &learning{o: DefaultOptions(), d: d, x: x}
	if err := l.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := taught(t, images, DefaultOptions())
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := r.Model.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	again, err := vgg.Open(t.Context(), path, vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scores := make([]float32, 3)
	for i := range images.Len() {
		l.svm.Scores(scores, x[i*d.Header.Dim:(i+1)*d.Header.Dim])
		want := l.posteriors(scores)
		for what, m := range map[string]*vgg.Model{"model": r.Model, "opened": again} {
			got, err := m.Classify(decoded(t, images.Dataset, i), 3)
			if err != nil {
				t.Fatal(err)
			}
			if got[0].Index != metrics.TopK(scores, 1)[0] || got[0].Class != images.Classes[got[0].Index] {
				t.Errorf("%s, %s: %v, want %v", what, images.Samples[i].Name, got, scores)
			}
			for _, p := range got {
				if math.Abs(float64(p.Probability)-want[p.Index]) > 1e-5 {
					t.Errorf("%s, %s: %v, want %v", what, images.Samples[i].Name, got, want)
				}
			}
		}
	}
	if again.Preprocess != r.Model.Preprocess || !slices.Equal(again.Classes, images.Classes) || again.Provenance["taught"] == "" || again.Provenance["taught_on"] != dir {
		t.Errorf("opened: %+v, %v, %v", again.Preprocess, again.Classes, again.Provenance)
	}
	rep := r.Report
	if !rep.CrossValidated || rep.Tested != 36 || rep.Learnt != 36 || rep.Error > 0.2 || !(rep.Low <= rep.Error && rep.Error <= rep.High) || rep.Confidence < 0.5 {
		t.Errorf("%+v", rep)
	}
}

// TestHeldOut: of a set with a part to validate on, the error is that of the model on just
// this part.
func TestHeldOut(t *testing.T) {
	dir := t.TempDir()
	folder(t, filepath.Join(dir, "train"), 8, kinds...)
	files := map[string][]byte{}
	for i := range 6 { // some in the wrong folder
		files[fmt.Sprintf("val/%s/%d.png", kinds[i%3], i)] = striped((i+i/4)%3, uint64(1000+i))
	}
	vggtest.WriteFiles(t, dir, files)
	images := opened(t, dir)
	r := taught(t, images, DefaultOptions())
	wrong, tested := 0, 0
	for i := range images.Len() {
		if images.Parts[i] != "val" {
			continue
		}
		tested++
		got, err := r.Model.Classify(decoded(t, images.Dataset, i), 1)
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Index != images.Samples[i].Label {
			wrong++
		}
	}
	if rep := r.Report; rep.CrossValidated || rep.Tested != tested || tested != 6 || rep.Wrong != wrong || wrong == 0 || rep.Learnt != 24 {
		t.Errorf("%d of %d wrong, the report says %+v", wrong, tested, rep)
	}
}

// TestOddPictures: a picture in the folder of another class looks mislabelled, and copies
// are listed with their classes and are in one fold.
func TestOddPictures(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, 12, kinds...)
	vggtest.WriteFiles(t, dir, map[string][]byte{
		"level/odd.png":     striped(0, 777),
		"level/copy.png":    striped(1, 101), // of level/00
		"slanting/copy.png": striped(1, 105), // of level/04
		"slanting/bad.png":  []byte("no picture"),
	})
	r := taught(t, opened(t, dir), DefaultOptions()).Report
	at := slices.IndexFunc(r.Mistakes, func(m Mistake) bool { return m.File == "level/odd.png" })
	if at < 0 || r.Mistakes[at].Answer != "upright" || r.Mistakes[at].Class != "level" || !r.Mistakes[at].Mislabelled {
		t.Errorf("mistakes %+v, want level/odd.png first", r.Mistakes)
	}
	var groups []string
	for _, d := range r.Duplicates {
		groups = append(groups, fmt.Sprint(d.Files, d.Classes))
	}
	for _, want := range []string{"[level/00.png level/copy.png] [level]", "[level/04.png slanting/copy.png] [level slanting]"} {
		if !slices.Contains(groups, want) {
			t.Errorf("groups %q lack %s", groups, want)
		}
	}
	if len(r.Unreadable) != 1 || r.Unreadable[0].Name != "slanting/bad.png" {
		t.Errorf("unreadable %v", r.Unreadable)
	}
}

// TestKeptDescriptors: with descriptors in a file, a class that is added costs its pictures
// alone, and the result is that of teaching anew. A call that is cut off is gone on with.
func TestKeptDescriptors(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, 6, kinds[:2]...)
	o := DefaultOptions()
	o.Descriptors = filepath.Join(t.TempDir(), "d.npy")
	passes := func() (*Result, int) {
		t.Helper()
		m := tiny.Random(16, 5)
		first := int64(-1)
		o.OnImage = func(done, _ int64) {
			if first < 0 {
				first = done
			}
		}
		net := Net("random", m)
		r, err := Teach(t.Context(), net, opened(t, dir), o)
		if err != nil {
			t.Fatal(err)
		}
		if first < 0 {
			return r, 0
		}
		return r, r.Report.Learnt - int(first) + 1
	}
	ctx, stop := context.WithCancelCause(t.Context())
	cut := errors.New("cut off")
	o.OnImage = func(done, _ int64) {
		if done == 5 {
			stop(cut)
		}
	}
	o.Batch = 1
	if _, err := Teach(ctx, Net("random", tiny.Random(16, 5)), opened(t, dir), o); !errors.Is(err, cut) {
		t.Fatalf("cut off: %v", err)
	}
	if _, n := passes(); n != 7 {
		t.Errorf("%d of 12 pictures described after 5 were, want 7", n)
	}
	folder(t, dir, 6, kinds...)
	r, n := passes()
	if n != 6 {
		t.Errorf("%d pictures described for a new class of 6", n)
	}
	fresh := taught(t, opened(t, dir), DefaultOptions())
	if r.Report.Wrong != fresh.Report.Wrong || r.Report.C != fresh.Report.C {
		t.Errorf("by kept descriptors %+v, want %+v", r.Report, fresh.Report)
	}
	for i, p := range r.Model.Net.Params() {
		got, want := make([]float32, p.Len()), make([]float32, p.Len())
		if err := errors.Join(p.Get(got), fresh.Model.Net.Params()[i].Get(want)); err != nil {
			t.Fatal(err)
		}
		if err := vggtest.SameBits(got, want); err != nil {
			t.Errorf("%s by kept descriptors: %v", p.Name, err)
		}
	}
}

// TestPictures: pictures in memory are learnt from as those of a folder.
func TestPictures(t *testing.T) {
	var classes []Class
	dir := t.TempDir()
	folder(t, dir, 5, kinds...)
	for _, name := range []string{"level", "slanting", "upright"} { // the order of folders
		c := Class{Name: name}
		for i := range 5 {
			kind := slices.Index(kinds, name)
			c.Pictures = append(c.Pictures, dataset.Picture{Encoded: striped(kind, uint64(100*kind+i+1))})
		}
		classes = append(classes, c)
	}
	images, err := Pictures("page", classes)
	if err != nil {
		t.Fatal(err)
	}
	got, want := taught(t, images, DefaultOptions()), taught(t, opened(t, dir), DefaultOptions())
	for i, p := range got.Model.Net.Params() {
		a, b := make([]float32, p.Len()), make([]float32, p.Len())
		if err := errors.Join(p.Get(a), want.Model.Net.Params()[i].Get(b)); err != nil {
			t.Fatal(err)
		}
		if err := vggtest.SameBits(a, b); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
}

// TestLabels: of pictures with any number of labels, the labels that the model shows are those
// whose SVMs' scores are above 0.
func TestLabels(t *testing.T) {
	var pictures []dataset.Picture
	for i := range 24 {
		labels := [][]int{{}, {0}, {1}, {0, 1}}[i%4]
		half := func(k int, on bool) int {
			if on {
				return k
			}
			return 2
		}
		left, right := vggtest.Noise(uint64(i+1)), half(0, i%4 == 1 || i%4 == 3)
		pictures = append(pictures, dataset.Picture{Labels: labels, Encoded: vggtest.PNG(40, 40, func(x, y int) color.RGBA {
			c := left(x, y)
			c.R, c.G, c.B = c.R/3, c.G/3, c.B/3
			if right == 0 {
				c.R += 120
			}
			if i%4 >= 2 && x < 20 {
				c.B += 150
			}
			return c
		})})
	}
	d, err := dataset.FromPictures("labels", []string{"red", "blue"}, pictures)
	if err != nil {
		t.Fatal(err)
	}
	images := &transfer.Images{Dataset: d, Labelled: true}
	r := taught(t, images, DefaultOptions())
	if len(r.Model.Thresholds) != 2 || r.Report.Score.MeanAP == nil || r.Report.Error > 0.5 {
		t.Fatalf("thresholds %v, report %+v", r.Model.Thresholds, r.Report)
	}
	net := Net("random", tiny.Random(16, 5))
	net.Layer, net.Scales = "pool5", []int{40}
	desc, x, err := transfer.Compute(t.Context(), []transfer.Net{net}, images, transfer.Options{Crop: true})
	if err != nil {
		t.Fatal(err)
	}
	l := &learning{o: DefaultOptions(), d: desc, x: x}
	if err := l.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	scores := make([]float32, 2)
	for i := range pictures {
		p, err := r.Model.Posteriors(decoded(t, d, i), 40)
		if err != nil {
			t.Fatal(err)
		}
		l.svm.Scores(scores, x[i*desc.Header.Dim:(i+1)*desc.Header.Dim])
		shown := vgg.Shown(p, r.Model.Thresholds)
		for c, s := range scores {
			if slices.Contains(shown, c) != (s > 0) && math.Abs(float64(s)) > 1e-4 {
				t.Errorf("picture %d: labels %v shown, SVMs' scores %v", i, shown, scores)
			}
		}
	}
}

// TestRefusals: what can't be taught is an error that says what to do.
func TestRefusals(t *testing.T) {
	one := t.TempDir()
	folder(t, one, 4, kinds[:1]...)
	few := t.TempDir()
	folder(t, few, 4, kinds[:2]...)
	vggtest.WriteFiles(t, few, map[string][]byte{"slanting/only.png": striped(2, 1)})
	pairs := t.TempDir()
	folder(t, pairs, 2, kinds...)
	copies := t.TempDir()
	folder(t, copies, 4, kinds[:2]...)
	for i := range 4 {
		vggtest.WriteFiles(t, copies, map[string][]byte{fmt.Sprintf("slanting/%d.png", i): striped(2, 1)})
	}
	only := t.TempDir() // one picture four times in each class
	for kind, class := range kinds[:2] {
		for i := range 4 {
			vggtest.WriteFiles(t, only, map[string][]byte{fmt.Sprintf("%s/%d.png", class, i): striped(kind, 1)})
		}
	}
	flat := t.TempDir()
	if err := os.WriteFile(filepath.Join(flat, "a.png"), striped(0, 1), 0o666); err != nil {
		t.Fatal(err)
	}
	cut, err := tiny.Random(16, 5).Until("conv3_2", true)
	if err != nil {
		t.Fatal(err)
	}
	whole := t.TempDir()
	folder(t, whole, 4, kinds...)
	for want, c := range map[string]struct {
		dir   string
		model *vgg.Model
		o     func(*Options)
	}{
		"class slanting has 1 picture to learn from":                                        {few, nil, nil},
		"one class, want at least two":                                                      {one, nil, nil},
		"class level has 2 pictures to learn from, want at least 3 of each class: add some": {pairs, nil, nil},
		"class slanting has 4 readable pictures to learn from, but as near-duplicates belong together they make 1 groups, want at least 3 pictures": {copies, nil, nil},
		"have no classes":     {flat, nil, nil},
		"ends with conv3_2":   {whole, cut, nil},
		"no candidates for C": {whole, nil, func(o *Options) { o.Cs = nil }},
		"2 folds":             {whole, nil, func(o *Options) { o.Folds = 2 }},
		"similarity of 2":     {whole, nil, func(o *Options) { o.Duplicates = 2 }},
		"want at least":       {whole, nil, func(o *Options) { o.Scale = 20 }},
	} {
		m, o := c.model, DefaultOptions()
		if m == nil {
			m = tiny.Random(16, 5)
		}
		if c.o != nil {
			c.o(&o)
		}
		if _, err := Teach(t.Context(), Net("random", m), opened(t, c.dir), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Teach(t.Context(), transfer.Net{}, opened(t, whole), DefaultOptions()); err == nil {
		t.Error("a network without Open was taken")
	}
	if _, err := Teach(t.Context(), Net("none", nil), opened(t, whole), DefaultOptions()); !errors.Is(err, vgg.ErrNoNetwork) {
		t.Errorf("no network: %v", err)
	}
	if _, err := Divided(t.Context(), Net("random", tiny.Random(16, 5)), opened(t, only), DefaultOptions()); err == nil || !strings.Contains(err.Error(), "no class has three readable pictures") {
		t.Errorf("nothing to hold out: %v", err)
	}
	few2 := &transfer.Images{Dataset: labelled(t, 2), Labelled: true}
	if _, err := Teach(t.Context(), Net("random", tiny.Random(16, 5)), few2, DefaultOptions()); err == nil || !strings.Contains(err.Error(), "2 readable pictures to learn from that are no near-duplicates of each other, want at least 3") {
		t.Errorf("two pictures with labels: %v", err)
	}
	if _, err := Divided(t.Context(), Net("random", tiny.Random(16, 5)), few2, DefaultOptions()); !errors.Is(err, errSeveralLabels) {
		t.Errorf("labels: %v", err)
	}
}

// labelled returns n pictures with any number of labels.
func labelled(t *testing.T, n int) *dataset.Dataset {
	t.Helper()
	var pictures []dataset.Picture
	for i := range n {
		pictures = append(pictures, dataset.Picture{Labels: [][]int{{0}, {1}, {0, 1}, {}}[i%4], Encoded: striped(i%3, uint64(i+1))})
	}
	d, err := dataset.FromPictures("labels", []string{"red", "blue"}, pictures)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestFewest: three pictures a class are enough, with as few folds as can be.
func TestFewest(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, 3, kinds...)
	for _, folds := range []int{3, 5, 50} {
		o := DefaultOptions()
		o.Folds = folds
		if r := taught(t, opened(t, dir), o).Report; r.Tested != 9 || r.Folds != min(folds, 9) {
			t.Errorf("%d folds: %+v", folds, r)
		}
	}
}

// TestDivided: near-duplicates are on one side, whatever the seed, a fifth of each class is held
// out, and a set's own parts stay, but for the one to test on.
func TestDivided(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, 10, kinds...)
	copies := map[string][]byte{"upright/bad.png": []byte("no picture"), "slanting/copy.png": striped(1, 103)}
	for i := range 5 {
		copies[fmt.Sprintf("level/%02d-copy.png", i)] = striped(1, uint64(101+i))
	}
	vggtest.WriteFiles(t, dir, copies)
	held := map[string]bool{}
	for seed := range uint64(8) {
		o := DefaultOptions()
		o.Seed = seed
		d, err := Divided(t.Context(), Net("random", tiny.Random(16, 5)), opened(t, dir), o)
		if err != nil {
			t.Fatal(err)
		}
		part, count := map[string]string{}, map[string]int{}
		for i, s := range d.Samples {
			part[s.Name] = d.Parts[i]
			if d.Parts[i] == "val" {
				count[d.Classes[s.Label]]++
				held[s.Name] = true
			}
		}
		for i := range 5 {
			if name := fmt.Sprintf("level/%02d", i); part[name+".png"] != part[name+"-copy.png"] {
				t.Errorf("seed %d: copies of %s are on both sides", seed, name)
			}
		}
		if part["slanting/copy.png"] != "train" || part["level/02.png"] != "train" || part["upright/bad.png"] != "train" {
			t.Errorf("seed %d: parts %v", seed, part)
		}
		for class, n := range count {
			if n < 1 || n > 3 || len(count) != 3 {
				t.Errorf("seed %d: %d held out of %s, of %d classes", seed, n, class, len(count))
			}
		}
	}
	if len(held) < 12 {
		t.Errorf("%d pictures held out by eight seeds", len(held))
	}

	own := t.TempDir()
	for part, n := range map[string]int{"train": 4, "val": 2, "test": 1} {
		folder(t, filepath.Join(own, part), n, kinds...)
	}
	whole := opened(t, own)
	d, err := Divided(t.Context(), Net("none", nil), whole, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	if d.Part("train").Len() != 12 || d.Part("val").Len() != 6 || d.Part("test") != nil {
		t.Errorf("parts %v of %v", d.Parts, whole.Parts)
	}
}

// TestPartsOfKeptDescriptors: parts that are given after the descriptors were kept hold.
func TestPartsOfKeptDescriptors(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, 5, kinds...)
	images, o := opened(t, dir), DefaultOptions()
	o.Descriptors = filepath.Join(t.TempDir(), "d.npy")
	taught(t, images, o)
	d, err := Divided(t.Context(), Net("random", tiny.Random(16, 5)), images, o)
	if err != nil {
		t.Fatal(err)
	}
	if r := taught(t, d, o).Report; r.CrossValidated || r.Learnt != 12 || r.Tested != 3 {
		t.Errorf("with parts: %+v", r)
	}
	if r := taught(t, images, o).Report; !r.CrossValidated || r.Learnt != 15 {
		t.Errorf("without parts again: %+v", r)
	}
}
