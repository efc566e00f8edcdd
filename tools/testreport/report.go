package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, ImportPath, Output string
}

type test struct{ pkg, name string }

// report is the result of a run of tests.
type report struct {
	failed  bool
	reasons map[string][]test // skipped tests by reason
}

// read reads events to the end and writes the packages' results and the output of the tests
// that failed.
func read(in io.Reader, out io.Writer) (*report, error) {
	r := &report{reasons: map[string][]test{}}
	output := map[test]string{} // of the tests that have not ended
	events := 0
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				out.Write(line) // the go command's own output
			} else {
				events++
				r.add(e, output, out)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if events == 0 {
		return nil, errors.New("testreport: no events in the input: want that of go test -json")
	}
	return r, nil
}

func (r *report) add(e event, output map[test]string, out io.Writer) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		io.WriteString(out, e.Output)
		return
	case "build-fail":
		r.failed = true
		return
	case "output":
		output[t] += e.Output
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	text := output[t]
	delete(output, t)
	switch {
	case e.Action == "fail":
		r.failed = true
		io.WriteString(out, text)
	case e.Test == "":
		if e.Action == "pass" { // the output of passing tests is dropped
			text = lastLine(text)
		}
		if !strings.HasSuffix(text, "[no test files]\n") {
			io.WriteString(out, text)
		}
	case e.Action == "skip":
		why := reason(text)
		r.reasons[why] = append(r.reasons[why], t)
	}
}

func lastLine(text string) string {
	return text[strings.LastIndexByte(strings.TrimSuffix(text, "\n"), '\n')+1:]
}

var logged = regexp.MustCompile(`^ +\S+\.go:\d+: (.*)$`)

// reason returns the message of t.Skip from a skipped test's output: the last one that was
// logged.
func reason(output string) string {
	why := "without a reason"
	for line := range strings.Lines(output) {
		if m := logged.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			why = m[1]
		}
	}
	return why
}

// skipped lists the skipped tests, one line for each reason. Subtests are only counted.
func (r *report) skipped() string {
	if len(r.reasons) == 0 {
		return "No test was skipped.\n"
	}
	var b strings.Builder
	b.WriteString("Skipped:\n")
	for _, why := range slices.Sorted(maps.Keys(r.reasons)) {
		subtests := map[string]int{}
		for _, t := range r.reasons[why] {
			top, _, sub := strings.Cut(t.name, "/")
			name := t.pkg[strings.LastIndexByte(t.pkg, '/')+1:] + " " + top
			subtests[name] += 0
			if sub {
				subtests[name]++
			}
		}
		var names []string
		for _, name := range slices.Sorted(maps.Keys(subtests)) {
			if n := subtests[name]; n > 0 {
				name = fmt.Sprintf("%s (%d of its parts)", name, n)
			}
			names = append(names, name)
		}
		fmt.Fprintf(&b, "  %s: %s\n", why, strings.Join(names, ", "))
	}
	return b.String()
}
