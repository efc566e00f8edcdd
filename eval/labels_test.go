package eval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
)

// listed is a source of the answers of a fixture.
type listed []Answer

func (l listed) net(int) source { return l }

func (l listed) answer(i int) (Answer, bool, error) { return l[i], true, nil }

// The measures are scikit-learn's of tools/oracle/metrics.py.
func TestLabelsOracle(t *testing.T) {
	text, err := os.ReadFile("../metrics/testdata/labels.json")
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		Posteriors            [][]float32
		Truth                 [][]int
		Thresholds            []float32
		AveragePrecision      []float64 `json:"average_precision"`
		MeanAP                float64   `json:"mean_average_precision"`
		Precision, Recall, F1 struct{ Micro, Macro float64 }
		Hamming               float64 `json:"hamming_loss"`
		Subset                float64 `json:"subset_accuracy"`
		Loss                  float64
		BestF1                []float64 `json:"best_f1"`
	}
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	var answers listed
	for i, p := range o.Posteriors {
		a := Answer{File: fmt.Sprint(i), Posterior: p}
		for k, shown := range o.Truth[i] {
			if shown == 1 {
				a.Labels = append(a.Labels, k)
			}
		}
		answers = append(answers, a)
	}
	classes := []string{"a", "b", "c", "d", "e"}
	h := Header{
		Data: DataID{Name: "oracle", Images: len(answers), Classes: classes, MultiLabel: true}, Classes: classes,
		Thresholds: o.Thresholds, Nets: []NetID{{Weights: "w"}}, Shard: whole(),
	}
	r, err := evaluate(t.Context(), h, answers, whole().images(len(answers)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 1e-6) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	l := r.Labels
	near("mean average precision", l.MeanAP, o.MeanAP)
	near("micro precision", l.Micro.Precision, o.Precision.Micro)
	near("micro recall", l.Micro.Recall, o.Recall.Micro)
	near("micro F1", l.Micro.F1, o.F1.Micro)
	near("macro precision", l.Macro.Precision, o.Precision.Macro)
	near("macro recall", l.Macro.Recall, o.Recall.Macro)
	near("macro F1", l.Macro.F1, o.F1.Macro)
	near("Hamming loss", l.HammingLoss, o.Hamming)
	near("subset accuracy", l.SubsetAccuracy, o.Subset)
	near("loss", l.Loss, o.Loss)
	mistakes := 0
	for k, label := range l.Labels {
		near("average precision of "+label.Label, label.AveragePrecision, o.AveragePrecision[k])
		near("best F1 of "+label.Label, label.BestF1, o.BestF1[k])
	}
	for i, p := range o.Posteriors {
		for k := range p {
			if (p[k] >= o.Thresholds[k]) != (o.Truth[i][k] == 1) {
				mistakes++
			}
		}
	}
	if len(l.Mistakes) != mistakes {
		t.Errorf("%d mistakes, want %d", len(l.Mistakes), mistakes)
	}
}

// decoded decodes a PNG.
func decoded(t testing.TB, data []byte) image.Image {
	t.Helper()
	im, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// labelModel is narrowModel with a sigmoid for each label.
func labelModel(t testing.TB) *vgg.Model { return narrowModel(t, "8 M 16bn M GAP FC SIGMOID") }

// severalLabels is a noisy set whose image i shows label a if i is even and b if it is one of
// three, listed in another order than the network's, of two of its three labels.
func severalLabels(t testing.TB, n int) *dataset.Dataset {
	sizes := make([][2]int, n)
	for i := range sizes {
		sizes[i] = [2]int{40 + i, 44}
	}
	d := noisy(t, sizes)
	one := *d
	one.Classes = []string{"b", "a"}
	for i := range one.Samples {
		one.Samples[i].Labels = []int{}
		if i%3 == 0 {
			one.Samples[i].Labels = append(one.Samples[i].Labels, 0)
		}
		if i%2 == 0 {
			one.Samples[i].Labels = append(one.Samples[i].Labels, 1)
		}
		one.Samples[i].Label = 0
	}
	one.MultiLabel = true
	return &one
}

// A label's probability is the mean of its sigmoids over scales, whatever the soft-max of
// others would be, and labels are matched by name.
func TestLabelsByHand(t *testing.T) {
	m, d := labelModel(t), severalLabels(t, 6)
	r, err := Run(t.Context(), m, d, Options{Protocol: Centre, Scales: []int{32, 40}, Thresholds: []float32{0.5, 0.4, 0.9}})
	if err != nil {
		t.Fatal(err)
	}
	loss := 0.0
	for i := range d.Samples {
		im, err := d.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		mean := make([]float64, 3)
		for _, q := range []int{32, 40} {
			p, err := m.Posteriors(decoded(t, im), q)
			if err != nil {
				t.Fatal(err)
			}
			for k := range mean {
				mean[k] += float64(p[k]) / 2
			}
		}
		for k, at := range []int{1, 0} {
			p := mean[at]
			if i%(3-k) != 0 {
				p = 1 - p
			}
			loss -= math.Log(p) / 6
		}
	}
	if math.Abs(r.Labels.Loss-loss) > 1e-5 {
		t.Errorf("loss %v, want %v", r.Labels.Loss, loss)
	}
	if l := r.Labels.Labels; l[0].Label != "b" || l[0].Threshold != 0.4 || l[0].Images != 2 || l[1].Images != 3 || fmt.Sprint(r.Labels.Unmeasured) != "[c]" {
		t.Errorf("%+v", r.Labels)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`"mean_ap":`, `"hamming_loss":`, `"best_threshold":`} {
		if !strings.Contains(string(text), key) {
			t.Errorf("no %s in %s", key, text)
		}
	}
	for _, key := range []string{"top1_error", "confusions", "calibration_error"} {
		if strings.Contains(string(text), key) {
			t.Errorf("%s in %s", key, text)
		}
	}
}

// The shards of every protocol merge to the whole run, which goes on after a stop.
func TestLabelShardsMerge(t *testing.T) {
	m, d := labelModel(t), severalLabels(t, 7)
	for _, s := range []Setting{{Dense, []int{40, 48}, true}, {MultiCrop, []int{48}, false}} {
		net := Net{Weights: "w", SHA256: "s", Open: func() (*vgg.Model, error) { return m, nil }, Setting: s}
		other := net
		other.Scales = []int{56}
		nets := []Net{net, other}
		want, err := RunNets(t.Context(), nets, d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		for i := 1; i <= 3; i++ {
			file := filepath.Join(t.TempDir(), fmt.Sprint(i, ".jsonl"))
			for range 2 { // the second run finds all done
				if _, err := RunNets(t.Context(), nets, d, Options{Out: file, Shard: Shard{i, 3}}); err != nil {
					t.Fatal(err)
				}
			}
			files = append(files, file)
		}
		merged, err := OpenResults(t.Context(), files...)
		if err != nil {
			t.Fatal(err)
		}
		defer merged.Close()
		got, err := merged.Evaluate(t.Context(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Labels, want.Labels) || *got.Nets[1].MeanAP != *want.Nets[1].MeanAP {
			t.Errorf("%v: %+v\nwant %+v", s, got.Labels, want.Labels)
		}
		if _, err := Compare(t.Context(), merged, merged); err == nil || !strings.Contains(err.Error(), "several labels") {
			t.Errorf("compared: %v, want an error that says why not", err)
		}
	}
}

func TestLabelsRefused(t *testing.T) {
	several := severalLabels(t, 4)
	one := noisy(t, [][2]int{{40, 40}, {40, 40}, {40, 40}})
	scores := narrowModel(t, "8 M 16bn M GAP FC SCORES")
	for want, c := range map[string]struct {
		m *vgg.Model
		d *dataset.Dataset
		o Options
	}{
		"each image of noise has one class":    {labelModel(t), one, Options{}},
		"any number of labels: want a network": {narrowModel(t, "8 M 16bn M GAP FC"), several, Options{}},
		"ends with scores":                     {scores, one, Options{}},
		"thresholds for images of one class":   {narrowModel(t, "8 M GAP FC"), one, Options{Thresholds: []float32{1, 1, 1}}},
		"2 thresholds, want one for each of 3": {labelModel(t), several, Options{Thresholds: []float32{1, 1}}},
		"threshold 0 of label 1":               {labelModel(t), several, Options{Thresholds: []float32{1, 0, 1}}},
	} {
		if _, err := Run(t.Context(), c.m, c.d, c.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := Run(t.Context(), labelModel(t), one.AsMultiLabel(), Options{}); err != nil {
		t.Errorf("a class as the only label: %v", err)
	}
}

// A class of another name is never matched by its index; the error says which, and what may
// be meant.
func TestUnknownClasses(t *testing.T) {
	_, err := matchClasses("pets", []string{"Persian_Cat", "002.beagle", "lynx", "pug"}, []string{"beagle", "persian cat", "pug", "sphynx"})
	for _, want := range []string{`3 of 4 classes`, `"Persian_Cat" (perhaps their "persian cat")`, `"002.beagle" (perhaps their "beagle")`, `"lynx"; want one of their 4`, "--map"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	labels, err := matchClasses("pets", []string{"pug", "beagle"}, []string{"beagle", "persian cat", "pug"})
	if err != nil || fmt.Sprint(labels) != "[2 0]" {
		t.Errorf("%v, %v: another order and fewer classes, want them matched by name", labels, err)
	}
}
