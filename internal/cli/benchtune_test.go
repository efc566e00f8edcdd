package cli

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/verydeep/vgg/nn"
)

// tuning is a layer whose plan b is chosen; medians are those of a, b, c, ….
func tuning(layer string, medians ...float64) nn.Tuning {
	t := nn.Tuning{Layer: layer}
	for i, m := range medians {
		t.Candidates = append(t.Candidates, nn.Candidate{Algorithm: string(rune('a' + i)), Chosen: i == 1, Median: m / 1e3, Best: m / 1e3})
	}
	return t
}

func candidates(t nn.Tuning) string {
	names := ""
	for _, c := range t.Candidates {
		names += c.Algorithm
	}
	return names
}

// TestConfirm: a layer counts as behind only if a candidate is ahead each time, and only
// those that were ahead are measured again.
func TestConfirm(t *testing.T) {
	first := []nn.Tuning{tuning("fine", 1, 1.04, 2), tuning("noisy", 1, 2, 1), tuning("slow", 1, 2, 1.99, 1)}
	var asked []string
	behind, err := confirm(first, 0.05, func(only []nn.Tuning) ([]nn.Tuning, error) {
		text := ""
		for _, l := range only {
			text += l.Layer + ":" + candidates(l) + " "
		}
		asked = append(asked, text)
		noisy := tuning("noisy", 1, 1.5, 1)
		if len(asked) == 2 {
			noisy = tuning("noisy", 1, 1, 1)
		}
		slow := tuning("slow", 1, 1.03, 5, 0.9)
		slow.Candidates = append(slow.Candidates[:2], slow.Candidates[3])
		return append([]nn.Tuning{slow}, noisy)[:len(only)], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "noisy:abc slow:abd |slow:bd noisy:abc |slow:bd "
	if got := strings.Join(asked, "|"); got != want {
		t.Errorf("measured again: %q, want %q", got, want)
	}
	if len(behind) != 1 || behind[0].Layer != "slow" || candidates(behind[0]) != "bd" {
		t.Errorf("behind: %+v", behind)
	}
	err = behindError(behind, 5)
	if want := "1 of the layers' plans are more than 5 % behind the best: slow: b takes 1.030 ms, d 0.900 (14.4 % behind)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := behindError(nil, 5); err != nil {
		t.Errorf("nothing behind: %v", err)
	}
	broken := errors.New("broken")
	if _, err := confirm(first, 0.05, func([]nn.Tuning) ([]nn.Tuning, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("a measurement that fails: %v", err)
	}
	if behind, err := confirm(first[:1], 0.05, nil); err != nil || behind != nil {
		t.Errorf("all within the bound: %v, %v", behind, err)
	}
}

func TestTuneResult(t *testing.T) {
	l := tuning("conv2_1", 3, 2, 1)
	l.Candidates[0].Cost, l.Candidates[1].Cost = 5e6, 4e6
	r := tuneResult([]nn.Tuning{l}, benchMachine{GFLOPS: 100}, 2)[0]
	// 50 GFLOP/s a thread are 25e6 multiplications in a millisecond.
	want := []benchCandidate{{"b", true, 0.16, 2, 2}, {"a", false, 0.2, 3, 3}, {"c", false, 0, 1, 1}}
	for i, got := range r.Candidates {
		if got != want[i] {
			t.Errorf("%+v, want %+v", got, want[i])
		}
	}
}

func TestLayerRates(t *testing.T) {
	times := []nn.StepTime{{Layer: "input", Seconds: 1e-3}, {Layer: "conv1_2", Pool: true, Seconds: 2e-3}, {Layer: "fc6", Seconds: 4e-3}}
	plans := []nn.LayerPlan{
		{Layer: "conv1_2", Algorithm: "F", Direct: 4e8, Computed: 1e8, WeightBytes: 10},
		{Layer: "fc6", Algorithm: "packed", Connected: true, Direct: 2e7, Computed: 2e7, WeightBytes: 8e7},
	}
	want := []benchLayer{
		{Layer: "input", Best: 1},
		{Layer: "conv1_2", Algorithm: "F", Pool: true, Best: 2, Effective: 400, Real: 100, Peak: 0.5},
		{Layer: "fc6", Algorithm: "packed", Best: 4, Effective: 10, Real: 10, Peak: 0.05, Bytes: 8e7, Bandwidth: 0.8},
	}
	for i, got := range layerRates(times, plans, benchMachine{GFLOPS: 200, Read: 25}) {
		for _, v := range []struct{ got, want float64 }{
			{got.Best, want[i].Best}, {got.Effective, want[i].Effective}, {got.Real, want[i].Real}, {got.Peak, want[i].Peak}, {got.Bandwidth, want[i].Bandwidth},
		} {
			if math.Abs(v.got-v.want) > 1e-9*v.want {
				t.Errorf("%s: %g, want %g", got.Layer, v.got, v.want)
			}
		}
		if got.Layer != want[i].Layer || got.Algorithm != want[i].Algorithm || got.Pool != want[i].Pool || got.Bytes != want[i].Bytes {
			t.Errorf("%+v, want %+v", got, want[i])
		}
	}
}
