package cli_test

import (
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/network"
)

// The figures of a measurement belong together: speed to the median, and operations to
// what summary counts.
func TestBenchFigures(t *testing.T) {
	o := network.DefaultOptions("C")
	o.Width, o.FC, o.Classes, o.Input = 0.05, 16, 7, 64
	s, err := network.Summarise(o)
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{"bench", "C", "--width=0.05", "--fc=16", "--classes=7", "--batch=3", "--iters=4", "--warmup=0", "--json"}
	for mode, test := range map[string]struct {
		size string
		macs func() int64
	}{
		"infer": {"64", func() int64 { return s.MACs }},
		"train": {"64", func() int64 { return 3*s.MACs - s.Layers[0].MACs }},
		"dense": {"288", func() int64 {
			// fc6 sees 7×7 of 9×9 pixels: the class score map is 3×3.
			o.Input = 288
			large, err := network.Summarise(o)
			if err != nil {
				t.Fatal(err)
			}
			o.Input = 224
			built, err := network.Summarise(o)
			if err != nil {
				t.Fatal(err)
			}
			var macs int64
			for i, l := range large.Layers {
				if strings.HasPrefix(l.Name, "fc") {
					macs += 9 * built.Layers[i].MACs
				} else {
					macs += l.MACs
				}
			}
			return macs
		}},
	} {
		var stdout, stderr strings.Builder
		code := cli.Main(t.Context(), append(flags, "--mode="+mode, "--side="+test.size), strings.NewReader(""), &stdout, &stderr, environment)
		said := regexp.MustCompile(`(?m)^measuring.*\n`).ReplaceAllString(stderr.String(), "") // where it takes long
		if code != 0 || said != "" {
			t.Fatalf("%s: exit code %d, %s", mode, code, stderr.String())
		}
		var r struct {
			Median float64 `json:"median_ms"`
			Min    float64 `json:"min_ms"`
			Max    float64 `json:"max_ms"`
			Images float64 `json:"images_per_second"`
			GFLOPS float64 `json:"effective_gflops"`
		}
		if err := json.Unmarshal([]byte(stdout.String()), &r); err != nil {
			t.Fatal(err)
		}
		if !(0 < r.Min && r.Min <= r.Median && r.Median <= r.Max) {
			t.Errorf("%s: median %v of %v to %v", mode, r.Median, r.Min, r.Max)
		}
		if want := 3 * 1000 / r.Median; math.Abs(r.Images/want-1) > 1e-9 {
			t.Errorf("%s: %v images/s, by the median %v", mode, r.Images, want)
		}
		if got, want := r.GFLOPS*r.Median*1e6/2/3, float64(test.macs()); math.Abs(got/want-1) > 1e-9 {
			t.Errorf("%s: %v multiplications, want %v", mode, got, want)
		}
	}
}
