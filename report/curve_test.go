package report

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"image"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// exampleCurve is a run of 12 epochs of 25 iterations with two decreases of
// the learning rate.
func exampleCurve() Curve {
	const epochs, perEpoch = 12, 25
	rng := rand.New(rand.NewPCG(1, 2))
	c := Curve{Title: "Configuration A, width 0.25, 64×64 crops, Caltech-101 sample"}
	level := func(epoch float64) float64 {
		loss := 0.25 + 2.05*math.Exp(-epoch/2.8)
		if epoch > 8 {
			loss -= 0.15
		}
		return loss
	}
	for i := 1; i <= epochs*perEpoch; i++ {
		epoch := float64(i) / perEpoch
		c.Iterations = append(c.Iterations, IterationPoint{epoch, level(epoch) * math.Exp(0.22*rng.NormFloat64())})
	}
	for e := 1; e <= epochs; e++ {
		rate := 0.01
		if e > 8 {
			rate /= 10
		}
		if e > 10 {
			rate /= 10
		}
		l := level(float64(e))
		c.Epochs = append(c.Epochs, EpochPoint{
			Epoch: e, Loss: l + 0.18 + 0.08*rng.Float64(), LearningRate: rate,
			Top1: 0.12 + 0.36*l + 0.02*rng.Float64(), Top5: 0.01 + 0.10*l,
		})
	}
	return c
}

func encode(t *testing.T, c Curve) image.Image {
	t.Helper()
	var b bytes.Buffer
	if err := c.EncodePNG(&b); err != nil {
		t.Fatal(err)
	}
	im, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	if im.Bounds().Dx() != curveWidth || im.Bounds().Dy() != curveHeight {
		t.Fatalf("picture is %v, want %d×%d", im.Bounds(), curveWidth, curveHeight)
	}
	return im
}

// difference is the mean absolute difference of two pictures in grey levels.
func difference(a, b image.Image) float64 {
	var sum float64
	for y := range curveHeight {
		for x := range curveWidth {
			ar, ag, ab, _ := a.At(x, y).RGBA()
			br, bg, bb, _ := b.At(x, y).RGBA()
			for _, d := range []float64{float64(ar) - float64(br), float64(ag) - float64(bg), float64(ab) - float64(bb)} {
				sum += math.Abs(d) / 257
			}
		}
	}
	return sum / (3 * curveWidth * curveHeight)
}

func TestCurveGolden(t *testing.T) {
	golden := filepath.Join("testdata", "curve.png")
	if *update {
		if err := exampleCurve().WritePNG(golden); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Open(golden)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	want, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	// Other processors may round a coordinate otherwise, where they have a
	// fused multiply-add: an edge pixel may differ, a line may not move.
	const tolerance = 0.02
	if d := difference(encode(t, exampleCurve()), want); d > tolerance {
		t.Errorf("the curve differs from %s by %.3f grey levels in the mean, want at most %v; rewrite it with -update and look at it", golden, d, tolerance)
	}
	changed := exampleCurve()
	changed.Epochs[5].Top1 += 0.05
	if d := difference(encode(t, changed), want); d <= tolerance {
		t.Errorf("a moved point differs by %.3f grey levels only: the test can't see it", d)
	}
}

func TestCurveEdgeCases(t *testing.T) {
	blank := encode(t, Curve{Epochs: []EpochPoint{{Epoch: 1, Loss: math.NaN()}}})
	full := exampleCurve()
	for name, c := range map[string]Curve{
		"one iteration":       {Iterations: full.Iterations[:1]},
		"iterations only":     {Iterations: full.Iterations},
		"one epoch":           {Iterations: full.Iterations[:25], Epochs: full.Epochs[:1]},
		"epochs only":         {Epochs: full.Epochs},
		"NaN in the middle":   {Iterations: slices.Insert(slices.Clone(full.Iterations), 100, IterationPoint{4, math.NaN()}), Epochs: full.Epochs},
		"infinite validation": {Iterations: full.Iterations, Epochs: []EpochPoint{{Epoch: 1, Loss: math.Inf(1), Top1: 0.9, Top5: 0.5}}},
		"huge":                {Iterations: []IterationPoint{{0.5, 1e30}, {1, 2e30}}},
		"tiny":                {Iterations: []IterationPoint{{0.5, 1e-30}, {1, 0}}},
		"no error":            {Epochs: []EpochPoint{{Epoch: 1}, {Epoch: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			if difference(encode(t, c), blank) == 0 {
				t.Error("nothing was drawn")
			}
		})
	}
	if err := (Curve{Title: "none"}).EncodePNG(io.Discard); err == nil || !strings.Contains(err.Error(), "report: curve: no iterations") {
		t.Errorf("a curve without points: %v, want an error that says so", err)
	}
}

func TestWritePNGLeavesNothingHalfWritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "curve.png")
	if err := exampleCurve().WritePNG(path); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := (Curve{}).WritePNG(path); err == nil {
		t.Error("a curve without points was written")
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("a failed write changed the file")
	}
	// A folder in the way: the rename fails.
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := exampleCurve().WritePNG(filepath.Join(dir, "taken")); err == nil {
		t.Error("a folder was replaced")
	}
	if err := exampleCurve().WritePNG(filepath.Join(dir, "missing", "curve.png")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder: %v, want os.ErrNotExist", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("the folder holds %v, want curve.png and taken only", entries)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestEncodePNGReportsWriteError(t *testing.T) {
	if err := exampleCurve().EncodePNG(fullDisk{}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("error is %v, want the writer's own", err)
	}
}

func TestRunningMean(t *testing.T) {
	points := make([]IterationPoint, 1000)
	for i := range points {
		points[i] = IterationPoint{float64(i), 3}
	}
	points[500].Loss = math.NaN()
	points[700].Loss = 1e30
	mean := runningMean(points)
	if mean[0].Epoch != 0 || mean[len(mean)-1].Epoch != 999 {
		t.Errorf("the mean runs from %v to %v, want from the first iteration to the last", mean[0].Epoch, mean[len(mean)-1].Epoch)
	}
	for _, p := range mean {
		if near := math.Abs(p.Epoch-700) <= 30; !near && p.Loss != 3 {
			t.Errorf("at %v: mean %v, want 3", p.Epoch, p.Loss)
		} else if near && p.Loss < 1e28 {
			t.Errorf("at %v: mean %v misses the peak", p.Epoch, p.Loss)
		}
	}
	if got := runningMean([]IterationPoint{{1, math.NaN()}}); len(got) != 0 {
		t.Errorf("mean of nothing finite is %v, want none", got)
	}
}

func TestExtremes(t *testing.T) {
	few := make([]IterationPoint, 2000)
	if got := extremes(few); len(got) != len(few) {
		t.Errorf("%d of %d points kept, want all of so few", len(got), len(few))
	}
	points := make([]IterationPoint, 100_000)
	for i := range points {
		points[i] = IterationPoint{float64(i), math.Sin(float64(i))}
	}
	points[12_345].Loss = 7
	points[54_321].Loss = -7
	points[99_999].Loss = math.NaN()
	kept := extremes(points)
	if len(kept) != 1000 {
		t.Errorf("%d points kept, want two of each of 500 runs", len(kept))
	}
	if !slices.IsSortedFunc(kept, func(a, b IterationPoint) int { return cmp.Compare(a.Epoch, b.Epoch) }) {
		t.Error("the points kept are out of order")
	}
	if !slices.Contains(kept, points[12_345]) || !slices.Contains(kept, points[54_321]) {
		t.Error("a peak was lost")
	}
}

func TestDecreases(t *testing.T) {
	rates := func(rates ...float64) Curve {
		var c Curve
		for i, r := range rates {
			c.Epochs = append(c.Epochs, EpochPoint{Epoch: i + 1, LearningRate: r})
		}
		return c
	}
	for _, test := range []struct {
		name string
		c    Curve
		want []decrease
	}{
		{"steps", rates(0.01, 0.01, 0.001, 0.001, 0.0001), []decrease{{2, 0.001}, {4, 0.0001}}},
		{"halved", rates(0.02, 0.01), []decrease{{1, 0.01}}},
		{"one after the other", rates(0.1, 0.01, 0.001), []decrease{{1, 0.01}, {2, 0.001}}},
		{"the end of a cosine", rates(0.01, 0.02, 0.018, 0.01, 0.004, 0.001, 0), nil},
		{"gliding", rates(1, 0.9, 0.8, 0.7), nil},
		{"warm-up", rates(0.001, 0.01), nil},
		{"not recorded", rates(0, 0, 0), nil},
		{"empty", Curve{}, nil},
	} {
		if got := test.c.decreases(); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestBest(t *testing.T) {
	c := Curve{Epochs: []EpochPoint{
		{Epoch: 1, Loss: 1, Top1: 0.5, Top5: 0.1},
		{Epoch: 2, Loss: 0.5, Top1: 0.2, Top5: 0.01},
		{Epoch: 3, Loss: 0.4, Top1: 0.2, Top5: 0.05},
		{Epoch: 4, Loss: 0.4, Top1: 0.2, Top5: 0.04},
		{Epoch: 5, Loss: 0.3, Top1: 0.3, Top5: 0.01},
	}}
	if got := c.best().Epoch; got != 3 {
		t.Errorf("best epoch is %d, want 3", got)
	}
	const want = "Validation error after epoch 5: top-1 30.0 %, top-5 1.0 %.  Best, epoch 3: top-1 20.0 %, top-5 5.0 %."
	if got := c.subtitle(); got != want {
		t.Errorf("subtitle is %q, want %q", got, want)
	}
}

func TestEvenTicks(t *testing.T) {
	label := func(float64) string { return "" }
	for _, test := range []struct {
		upper, most, least float64
		last, step         float64
	}{
		{12, 12, 1, 12, 1},
		{74, 12, 1, 70, 10},
		{3, 12, 1, 3, 1},
		{2.65, 7, 0, 2.5, 0.5},
		{100, 7, 0, 100, 20},
		{1, 7, 0, 1, 0.2},
		{1.12, 7, 0, 1, 0.2},
		{2.3e30, 7, 0, 2e30, 5e29},
	} {
		ticks := evenTicks(test.most, test.least, label).Ticks(0, test.upper)
		last := ticks[len(ticks)-1].Value
		if step := ticks[1].Value; math.Abs(step-test.step) > 1e-9*step || math.Abs(last-test.last) > 1e-9*last {
			t.Errorf("0…%v: step %v to %v, want step %v to %v", test.upper, step, last, test.step, test.last)
		}
	}
}
