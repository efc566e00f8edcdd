package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// TestKilled is the short form: three kills.
func TestKilled(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	dir := t.TempDir()
	vgg := filepath.Join(dir, "vgg.exe")
	if out, err := exec.Command("go", "build", "-o", vgg, "../../cmd/vgg").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out strings.Builder
	k := killTest{vgg: vgg, kills: 3, epochs: 6, seed: 3, config: "A-BN", dir: dir, out: &out}
	err := k.run()
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "kill 3: ") || !strings.Contains(out.String(), "3 kills") {
		t.Error("the run was not killed three times")
	}
}
