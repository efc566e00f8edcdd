package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"
)

// results counts tests.
type results struct{ passed, failed, skipped int }

// runTests runs the tests of accelerators within their share of the time: one package after the
// other, as a GPU's memory is for one process. A test that is running when the time is over has
// failed, and so has a package that isn't begun by then.
func runTests(ctx context.Context, run func(name string, arguments ...string) *exec.Cmd, out io.Writer) (all results, err error) {
	list, err := run("go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", "./accel/...").Output()
	if err != nil {
		return all, fmt.Errorf("go list: %w", err)
	}
	packages := strings.Fields(string(list))
	slices.Reverse(packages) // what others are made of first
	fmt.Fprintf(out, "\n%-52s %-8s %9s\n", "test", "result", "seconds")
	end := time.Now().Add(testShare)
	for _, name := range packages {
		left := time.Until(end).Round(time.Second)
		if left <= 0 {
			fmt.Fprintf(out, "%-52s %-8s: the tests' %v are over\n", path.Base(name), "FAILED", testShare)
			all.failed++
			continue
		}
		// The test's own timeout ends it, so that no process is left that has the device.
		n, err := runPackage(run("go", "test", "-json", "-short", "-count=1", "-timeout="+left.String(), name), out)
		all.passed += n.passed
		all.failed += n.failed
		all.skipped += n.skipped
		if err != nil {
			return all, err
		}
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
	}
	if all.passed == 0 {
		return all, errors.New("no test passed")
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", all.passed, all.failed, all.skipped)
	return all, nil
}

// runPackage runs go test -json.
func runPackage(test *exec.Cmd, out io.Writer) (results, error) {
	in, err := test.StdoutPipe()
	if err != nil {
		return results{}, err
	}
	if err := test.Start(); err != nil {
		return results{}, err
	}
	n, err := readTests(in, out)
	if err != nil {
		return n, errors.Join(err, test.Process.Kill(), test.Wait())
	}
	if err := test.Wait(); err != nil && n.failed == 0 {
		return n, fmt.Errorf("go test: %w", err)
	}
	return n, nil
}

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// readTests prints a line for each test, without the parts of tests, and the output of those that
// failed.
func readTests(in io.Reader, out io.Writer) (n results, err error) {
	output := map[string]*strings.Builder{}
	failed := map[string]bool{} // packages of which a test failed
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintln(out, lines.Text()) // the go command's own
			continue
		}
		top, _, part := strings.Cut(e.Test, "/")
		name := path.Base(e.Package) + "." + top
		if e.Test == "" {
			name = path.Base(e.Package)
		}
		if output[name] == nil {
			output[name] = new(strings.Builder)
		}
		result := ""
		switch e.Action {
		case "output":
			output[name].WriteString(e.Output)
		case "pass":
			result = "passed"
		case "skip":
			result = "skipped"
		case "fail":
			result = "FAILED"
		}
		// A package fails by itself if it can't be built, or if the process died.
		if result == "" || part || e.Test == "" && (e.Action != "fail" || failed[e.Package]) {
			continue
		}
		switch e.Action {
		case "pass":
			n.passed++
		case "skip":
			n.skipped++
		case "fail":
			n.failed++
			failed[e.Package] = true
		}
		fmt.Fprintf(out, "%-52s %-8s %9.1f\n", name, result, e.Elapsed)
		if e.Action == "fail" {
			fmt.Fprint(out, output[name])
		}
	}
	return n, lines.Err()
}
