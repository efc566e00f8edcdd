package train

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestSchedulesAgainstPyTorch: the rates are those of torch.optim.lr_scheduler:
// ReduceLROnPlateau, MultiStepLR, CosineAnnealingLR, LinearLR.
func TestSchedulesAgainstPyTorch(t *testing.T) {
	text, err := os.ReadFile("testdata/schedules.json")
	if err != nil {
		t.Fatal(err)
	}
	var fixture struct {
		Cases []struct {
			Schedule json.RawMessage
			Start    float64
			PerEpoch int `json:"per_epoch"`
			Errors   []float64
			Rates    []float64
		}
	}
	if err := json.Unmarshal(text, &fixture); err != nil {
		t.Fatal(err)
	}
	if len(fixture.Cases) < 10 {
		t.Fatalf("%d cases", len(fixture.Cases))
	}
	for n, c := range fixture.Cases {
		var s Schedule
		if err := yaml.Unmarshal(c.Schedule, &s); err != nil { // JSON is YAML
			t.Fatal(err)
		}
		if err := s.validate(func(key string, value any, want string) error {
			t.Errorf("case %d: %s: %v, want %s", n, key, value, want)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		r := newRate(s, c.Start, max(1, c.PerEpoch), len(c.Rates))
		changes := 0
		for i, want := range c.Rates {
			var got float64
			if s.Name == "plateau" {
				r.epoch(i+1, c.Errors[i])
				got = r.at(i + 2)
			} else {
				got = r.at(i + 1)
				if (i+1)%c.PerEpoch == 0 {
					r.epoch((i+1)/c.PerEpoch, math.NaN())
				}
			}
			if math.Abs(got-want) > 1e-9*c.Start {
				t.Errorf("case %d, %s: rate %d is %v, PyTorch's %v", n, s.Name, i+1, got, want)
				break
			}
			if i > 0 && want != c.Rates[i-1] {
				changes++
			}
		}
		if changes < 2 {
			t.Errorf("case %d: %d changes of the rate, want more to compare", n, changes)
		}
	}
}
