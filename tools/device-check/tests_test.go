package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

func TestReadTests(t *testing.T) {
	const in = `{"Action":"run","Package":"m/accel","Test":"TestA"}
{"Action":"output","Package":"m/accel","Test":"TestA","Output":"all is well\n"}
{"Action":"pass","Package":"m/accel","Test":"TestA/part","Elapsed":1}
{"Action":"pass","Package":"m/accel","Test":"TestA","Elapsed":1.25}
{"Action":"output","Package":"m/accel","Test":"TestB/part","Output":"too far: 3\n"}
{"Action":"fail","Package":"m/accel","Test":"TestB/part","Elapsed":0}
{"Action":"fail","Package":"m/accel","Test":"TestB","Elapsed":0.5}
{"Action":"skip","Package":"m/accel","Test":"TestC","Elapsed":0}
{"Action":"fail","Package":"m/accel","Elapsed":2}
# m/accel/hlo
hlo.go:1: broken
{"Action":"output","Package":"m/accel/hlo","Output":"FAIL [build failed]\n"}
{"Action":"fail","Package":"m/accel/hlo","Elapsed":0}
{"Action":"pass","Package":"m/accel/plugins","Elapsed":1}
`
	var out strings.Builder
	n, err := readTests(strings.NewReader(in), &out)
	if want := (results{passed: 1, failed: 2, skipped: 1}); err != nil || n != want {
		t.Errorf("%+v, %v, want %+v", n, err, want)
	}
	for _, line := range []string{"accel.TestA", "passed         1.2\n", "accel.TestB", "FAILED         0.5\ntoo far: 3\n", "accel.TestC", "skipped", "hlo.go:1: broken\n", "FAIL [build failed]\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in\n%s", line, out.String())
		}
	}
	if strings.Contains(out.String(), "all is well") {
		t.Errorf("output of a test that passed:\n%s", out.String())
	}
}

func TestCompareLosses(t *testing.T) {
	falling := func(change func(l []float64)) []float64 {
		l := make([]float64, iterations)
		for i := range l {
			l[i] = 2 - float64(i)/iterations
		}
		change(l)
		return l
	}
	same := falling(func([]float64) {})
	for want, l := range map[string][]float64{
		"":                          falling(func(l []float64) { l[0] *= 1.0005; l[35] *= 1.1 }),
		"39 and 40 iterations":      same[1:],
		"iteration 2: loss":         falling(func(l []float64) { l[1] *= 1.002 }),
		"mean loss of the last":     falling(func(l []float64) { l[30] *= 3 }),
		"iteration 1: loss NaN, on": falling(func(l []float64) { l[0] = math.NaN() }),
	} {
		err := compareLosses(l, same)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	flat := make([]float64, iterations)
	for i := range flat {
		flat[i] = 1
	}
	if err := compareLosses(flat, flat); err == nil || !strings.Contains(err.Error(), "doesn't fall") {
		t.Errorf("a flat loss: %v", err)
	}
}

func TestCompareRuns(t *testing.T) {
	for want, stopped := range map[string]string{
		"":             "abcd",
		"1 of 4 bytes": "abcx",
		"4 bytes, and": "abc",
	} {
		err := compareRuns([]byte("abcd"), []byte(stopped))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := compareRuns(nil, nil); err == nil {
		t.Error("no weights are the same")
	}
}

func TestReadLosses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "metrics.jsonl")
	text := `{"kind":"start","iterations":2}
{"kind":"iteration","epoch":1,"iteration":1,"loss":2.5}
{"kind":"iteration","epoch":1,"iteration":2,"loss":2}
{"kind":"epoch","epoch":1,"iterations":2,"loss":3}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := readLosses(file); err != nil || !slices.Equal(l, []float64{2.5, 2}) {
		t.Errorf("%v, %v", l, err)
	}
}

func TestCompareAnswers(t *testing.T) {
	is := map[string][]float64{"a": {1, 0, -4}, "b": {0, 0, 0}}
	for want, device := range map[string]map[string][]float64{
		"":                               {"a": {1.002, 0, -4}, "b": {0, 0, 0}},
		"number 1 is 0.005, on":          {"a": {1, 0.005, -4}, "b": {0, 0, 0}},
		"number 0 is NaN, on":            {"a": {math.NaN(), 0, -4}, "b": {0, 0, 0}},
		"b: number 2 is 1e-09, on":       {"a": {1, 0, -4}, "b": {0, 0, 1e-9}},
		"b: 0 numbers, on the processor": {"a": {1, 0, -4}, "c": {0, 0, 0}},
		"1 images, on the processor 2":   {"a": {1, 0, -4}},
	} {
		off, err := compareAnswers(device, is)
		if want == "" && (err != nil || math.Abs(off-0.0005) > 1e-9) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, %v, want %q", off, err, want)
		}
	}
	if _, err := compareAnswers(nil, nil); err == nil {
		t.Error("no answers are the same")
	}
}

func TestReadAnswers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "answers.jsonl")
	text := `{"format":"vgg evaluation 1","classes":["a","b"]}
{"image":1,"net":0,"file":"val/a.jpg","label":0,"posterior":"AACAPwAAAL8="}
{"file":"val/b.jpg","descriptor":[0.5,0,2]}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readAnswers(file)
	if err != nil || len(got) != 2 || !slices.Equal(got["val/a.jpg"], []float64{1, -0.5}) || !slices.Equal(got["val/b.jpg"], []float64{0.5, 0, 2}) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestTimeIsOver: what go test writes of a test that its timeout ends is a failure of that test.
func TestTimeIsOver(t *testing.T) {
	const in = `{"Action":"run","Package":"m/accel","Test":"TestA"}
{"Action":"output","Package":"m/accel","Test":"TestA","Output":"panic: test timed out after 6m0s\n"}
{"Action":"fail","Package":"m/accel","Test":"TestA","Elapsed":360}
{"Action":"fail","Package":"m/accel","Elapsed":360}
`
	var out strings.Builder
	n, err := readTests(strings.NewReader(in), &out)
	if want := (results{failed: 1}); err != nil || n != want || !strings.Contains(out.String(), "timed out after") {
		t.Errorf("%+v, %v, want %+v:\n%s", n, err, want, out.String())
	}
}
