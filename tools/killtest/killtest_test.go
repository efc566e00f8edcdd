package main

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// TestKilled is the short form: some kills of a command of each kind.
func TestKilled(t *testing.T) {
	vggtest.SkipShort(t, "kills commands")
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	var out strings.Builder
	k := killTest{kills: 6, time: time.Hour, seed: 3, parallel: 2, run: regexp.MustCompile("^(train|eval|convert w.npz)$"), out: &out}
	err := k.main(t.Context())
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^([6-9]|1[0-9]) kills and \d+ other faults of 3 commands .*; 0 results lost$`).MatchString(out.String()) {
		t.Error("the commands were not killed six times")
	}
}
