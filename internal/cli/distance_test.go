package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// TestDistanceMaps: pairs of the same name in several folders have maps of their own, and no
// file is held open for the maps that are not being written.
func TestDistanceMaps(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	for _, name := range []string{"dark/0.png", "light/0.png", "light/1.png"} {
		vggtest.WriteFiles(t, dir, map[string][]byte{name: vggtest.PNG(36, 32, vggtest.Plain(vggtest.Red))})
	}
	weights := filepath.Join(t.TempDir(), "w.safetensors")
	if err := tiny.Colours(3).Save(t.Context(), weights); err != nil {
		t.Fatal(err)
	}
	held, lines := 0, 0
	stdout := &onText{text: `"distance"`, call: func() {
		locks, err := filepath.Glob(filepath.Join(out, "*.lock"))
		if err != nil {
			t.Error(err)
		}
		held, lines = max(held, len(locks)), lines+1
	}}
	var stderr strings.Builder
	args := []string{"distance", dir, dir, "--net", weights, "--features=conv1_1", "--out", filepath.Join(out, "map.png"), "--json"}
	if code := cli.Main(t.Context(), args, strings.NewReader(""), stdout, &stderr, environment); code != 0 {
		t.Fatalf("exit code %d, %s", code, stderr.String())
	}
	if held > 1 || lines < 3 {
		t.Errorf("%d locks held at once, after %d lines", held, lines)
	}
	for _, name := range []string{"dark-0-map.png", "light-0-map.png", "1-map.png"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	var again strings.Builder
	if code := cli.Main(t.Context(), args, strings.NewReader(""), &again, &stderr, environment); code != 1 || !strings.Contains(again.String(), "exists already") {
		t.Errorf("again: exit code %d, %s", code, again.String())
	}
}
