package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestRead(t *testing.T) {
	var in strings.Builder
	for _, e := range []event{
		{Action: "start", Package: "m/a"},
		{Action: "run", Package: "m/a", Test: "TestGood"},
		{Action: "output", Package: "m/a", Test: "TestGood", Output: "    a_test.go:3: chatter\n"},
		{Action: "output", Package: "m/a", Output: "printed\n"},
		{Action: "pass", Package: "m/a", Test: "TestGood"},
		{Action: "output", Package: "m/a", Test: "TestPython", Output: "=== RUN   TestPython\n"},
		{Action: "output", Package: "m/a", Test: "TestPython", Output: "    a_test.go:5: looked for it\n    a_test.go:7: needs python3\n"},
		{Action: "output", Package: "m/a", Test: "TestPython", Output: "--- SKIP: TestPython (0.00s)\n"},
		{Action: "skip", Package: "m/a", Test: "TestPython"},
		{Action: "output", Package: "m/a", Test: "TestData/1", Output: "    a_test.go:9: needs data\n"},
		{Action: "skip", Package: "m/a", Test: "TestData/1"},
		{Action: "output", Package: "m/a", Test: "TestData/2", Output: "    a_test.go:9: needs data\n"},
		{Action: "skip", Package: "m/a", Test: "TestData/2"},
		{Action: "pass", Package: "m/a", Test: "TestData"},
		{Action: "output", Package: "m/a", Output: "PASS\n"},
		{Action: "output", Package: "m/a", Output: "ok  \tm/a\t0.1s\n"},
		{Action: "pass", Package: "m/a"},
		{Action: "output", Package: "m/none", Output: "?   \tm/none\t[no test files]\n"},
		{Action: "skip", Package: "m/none"},
		{Action: "skip", Package: "m/b", Test: "TestSilent"},
		{Action: "output", Package: "m/b", Test: "TestData", Output: "    b_test.go:9: needs data\n"},
		{Action: "skip", Package: "m/b", Test: "TestData"},
		{Action: "output", Package: "m/b", Output: "ok  \tm/b\t0.1s\n"},
		{Action: "pass", Package: "m/b"},
	} {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	passing := in.String()
	const skipped = `Skipped:
  needs data: a TestData (2 of its parts), b TestData
  needs python3: a TestPython
  without a reason: b TestSilent
`
	for _, c := range []struct {
		more, out string
		failed    bool
	}{
		{"", "ok  \tm/a\t0.1s\nok  \tm/b\t0.1s\n", false},
		{"go: a warning\n", "ok  \tm/a\t0.1s\nok  \tm/b\t0.1s\ngo: a warning\n", false},
		{`{"Action":"output","Package":"m/c","Test":"TestBad","Output":"    c_test.go:1: wrong\n"}
{"Action":"fail","Package":"m/c","Test":"TestBad"}
{"Action":"output","Package":"m/c","Output":"FAIL\tm/c\t0.1s\n"}
{"Action":"fail","Package":"m/c"}`, "ok  \tm/a\t0.1s\nok  \tm/b\t0.1s\n    c_test.go:1: wrong\nFAIL\tm/c\t0.1s\n", true},
		{`{"Action":"build-output","ImportPath":"m/d","Output":"d.go:1: syntax error\n"}
{"Action":"build-fail","ImportPath":"m/d"}`, "ok  \tm/a\t0.1s\nok  \tm/b\t0.1s\nd.go:1: syntax error\n", true},
	} {
		var out strings.Builder
		r, err := read(strings.NewReader(passing+c.more), &out)
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != c.out || r.failed != c.failed || r.skipped() != skipped {
			t.Errorf("%s: failed %t, want %t, printed\n%s\nwant\n%s\n%s\nwant\n%s", c.more, r.failed, c.failed, &out, c.out, r.skipped(), skipped)
		}
	}
	if _, err := read(strings.NewReader("ok  \tm/a\t0.1s\n"), &strings.Builder{}); err == nil {
		t.Error("no error without any event")
	}
}

// TestGoTest reads the output of go test itself.
func TestGoTest(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m\n",
		"m_test.go": `package m
import "testing"
func TestGood(t *testing.T) {}
func TestSkipped(t *testing.T) { need(t) }
func TestBad(t *testing.T) { t.Error("wrong") }
func need(t *testing.T) { t.Helper(); t.Skip("needs data") }
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (*report, string) {
		t.Helper()
		cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
		cmd.Dir = dir
		events, _ := cmd.Output()
		var out strings.Builder
		r, err := read(strings.NewReader(string(events)), &out)
		if err != nil {
			t.Fatal(err)
		}
		return r, out.String()
	}
	if r, out := run(); !r.failed || r.skipped() != "Skipped:\n  needs data: m TestSkipped\n" || !strings.Contains(out, "m_test.go:5: wrong\n") || !strings.Contains(out, "FAIL\tm\t") {
		t.Errorf("failed %t, %s%s", r.failed, r.skipped(), out)
	}
	if r, out := run("-run", "Good"); r.failed || r.skipped() != "No test was skipped.\n" || !strings.HasPrefix(out, "ok  \tm\t") {
		t.Errorf("failed %t, %s%s", r.failed, r.skipped(), out)
	}
	if err := os.WriteFile(filepath.Join(dir, "m_test.go"), []byte("package m\nvar x = y\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if r, out := run(); !r.failed || !strings.Contains(out, "undefined: y") {
		t.Errorf("what can't be built: failed %t, %s", r.failed, out)
	}
}
