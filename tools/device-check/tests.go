package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
)

// results counts tests.
type results struct{ passed, failed, skipped int }

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
