//go:build accel

package cli_test

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// A service on an accelerator gives the processor's answers.
func TestServeOnAnAccelerator(t *testing.T) {
	if plugin == "" {
		vggtest.Skip(t, "a PJRT plugin in VGG_PJRT_PLUGIN")
	}
	path := save(t, tiny.Random(24, 3), filepath.Join(t.TempDir(), "random.safetensors"))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	var answers [2]vgg.Answer
	for i, args := range [][]string{{path}, {path, "--device", plugin}} {
		s := startService(t, args...)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.address+"/v1/classify", bytes.NewReader(vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red))))
		if err != nil {
			t.Fatal(err)
		}
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(w.Body).Decode(&answers[i])
		w.Body.Close()
		if err != nil || w.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v: %s", w.Status, err, s.stderr)
		}
		if code := s.stop(); code != 0 {
			t.Errorf("exit code %d: %s", code, s.stderr)
		}
	}
	processor, device := answers[0].Top, answers[1].Top
	if len(processor) != 5 || len(device) != 5 {
		t.Fatalf("%d and %d answers", len(processor), len(device))
	}
	for i, p := range processor {
		if d := device[i]; d.Class != p.Class || math.Abs(float64(d.Probability-p.Probability)) > 1e-5*float64(p.Probability) {
			t.Errorf("answer %d: %s %v, want %s %v", i, d.Class, d.Probability, p.Class, p.Probability)
		}
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if programs, err := filepath.Glob(filepath.Join(dir, "vgg", "programs", "*")); err != nil || len(programs) == 0 {
		t.Errorf("no program was compiled: %v", err)
	}
}
