package cli_test

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
)

// TestMemoryEstimate checks that a process takes the memory that vgg summary tells, within 15
// per cent.
func TestMemoryEstimate(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, config, mode string
		width              float64
		batch, threads     int
	}{
		{"inference, mostly weights", "A", "infer", 0.5, 1, 2},
		{"inference, mostly activations", "D", "infer", 0.25, 8, 2},
		{"training", "A", "train", 0.25, 6, 2},
		{"training, one thread, batch normalisation", "A-BN", "train", 0.125, 8, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			vggtest.SkipShort(t, "takes hundreds of megabytes")
			o := network.DefaultOptions(test.config)
			o.Width = test.width
			want, err := network.EstimateMemory(o, test.batch, test.threads)
			if err != nil {
				t.Fatal(err)
			}
			estimate := want.Inference
			if test.mode == "train" {
				estimate = want.Training
			}
			bench := exec.Command(self, "bench", test.config, "--json", "--iters=1", "--warmup=1",
				"--mode="+test.mode, "--width="+strconv.FormatFloat(test.width, 'g', -1, 64),
				"--batch="+strconv.Itoa(test.batch), "--threads="+strconv.Itoa(test.threads))
			bench.Args[0] = "vgg" // by which TestMain knows the command
			bench.Stderr = os.Stderr
			out, err := bench.Output()
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Peak int64 `json:"peak_rss_bytes"`
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			off := float64(estimate)/float64(got.Peak) - 1
			t.Logf("estimated %d bytes, took %d: off by %+.1f %%", estimate, got.Peak, 100*off)
			if math.Abs(off) > 0.15 {
				t.Errorf("estimated %d bytes, took %d: off by %+.1f %%", estimate, got.Peak, 100*off)
			}
		})
	}
}
