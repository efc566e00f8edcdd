package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/internal/vggtest"
)

type header struct {
	Format string `json:"format"`
	Run    string `json:"run"`
	Lines  int    `json:"lines"`
}

type line struct {
	N int `json:"n"`
}

const format = "vgg test 1"

// read is what was read of a journal.
type read struct {
	header header
	lines  []int
}

func (r *read) kind() Kind[header, line] {
	return Kind[header, line]{
		Format: format, Name: "a file of tests", Holds: "results",
		Header: func(h header) error {
			if h.Lines < 0 {
				return fmt.Errorf("%d lines", h.Lines)
			}
			r.header = h
			return nil
		},
		Line: func(l line, _ Place) error {
			if l.N < 0 || l.N >= r.header.Lines {
				return fmt.Errorf("number %d, want 0 to %d", l.N, r.header.Lines-1)
			}
			r.lines = append(r.lines, l.N)
			return nil
		},
		Difference: func(was, want header) string {
			if was.Run != want.Run {
				return "run " + was.Run + ", want " + want.Run
			}
			if was.Lines != want.Lines {
				return fmt.Sprintf("%d lines, want %d", was.Lines, want.Lines)
			}
			return ""
		},
	}
}

var first = header{format, "first", 100}

// TestMain resumes the journal that the variable names, in a second process.
func TestMain(m *testing.M) {
	if path := os.Getenv("VGG_TEST_JOURNAL"); path != "" {
		_, err := new(read).kind().Resume(context.Background(), path, first)
		if held, ok := errors.AsType[*lockfile.HeldError](err); ok && held.PID == os.Getppid() && held.Path == path {
			os.Exit(3)
		}
		os.Exit(1)
	}
	vggtest.Main(m)
}

func resume(t *testing.T, path string) (*File, *read) {
	t.Helper()
	r := &read{}
	f, err := r.kind().Resume(t.Context(), path, first)
	if err != nil {
		t.Fatal(err)
	}
	return f, r
}

func add(t *testing.T, f *File, numbers ...int) (places []Place) {
	t.Helper()
	for _, n := range numbers {
		at, err := f.Append(line{n})
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, at)
	}
	return places
}

const whole = `{"format":"vgg test 1","run":"first","lines":100}` + "\n" + `{"n":3}` + "\n" + `{"n":5}` + "\n"

// Wherever a journal was cut off, the run goes on after its last whole line.
func TestResumeAtEveryByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.jsonl")
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(path, []byte(whole[:cut]), 0o666); err != nil {
			t.Fatal(err)
		}
		kept := strings.Count(whole[:cut], "\n")
		f, r := resume(t, path)
		if f.Resumed != (kept > 0) || len(r.lines) != max(0, kept-1) {
			t.Fatalf("cut at %d: resumed %v with %v", cut, f.Resumed, r.lines)
		}
		places := add(t, f, []int{3, 5}[len(r.lines):]...)
		for i, at := range places {
			var l line
			if err := f.Read(at, &l); err != nil || l.N != []int{3, 5}[len(r.lines)+i] {
				t.Fatalf("cut at %d: %v is %v, %v", cut, at, l, err)
			}
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != whole {
			t.Fatalf("cut at %d: %q, %v", cut, b, err)
		}
		// A reader takes the same lines.
		r = &read{}
		f, err := r.kind().Open(t.Context(), path)
		if err != nil || !reflect.DeepEqual(*r, read{first, []int{3, 5}}) {
			t.Fatalf("%v, %v", r, err)
		}
		f.Close()
	}
	if left, _ := filepath.Glob(path + ".*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// A reader leaves a line that is being written as it is.
func TestOpenChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.jsonl")
	text := whole + `{"n":`
	if err := os.WriteFile(path, []byte(text), 0o444); err != nil {
		t.Fatal(err)
	}
	r := &read{}
	f, err := r.kind().Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := os.ReadFile(path); err != nil || string(b) != text || len(r.lines) != 2 {
		t.Errorf("%q with %v, %v", b, r.lines, err)
	}
}

// A second run, in this process or in another, is refused and told the first one's process.
func TestOneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.jsonl")
	f, _ := resume(t, path)
	add(t, f, 1)
	_, err := new(read).kind().Resume(t.Context(), path, first)
	held, ok := errors.AsType[*lockfile.HeldError](err)
	if !ok || *held != (lockfile.HeldError{Path: path, PID: os.Getpid()}) {
		t.Errorf("%v, want a HeldError", err)
	}
	second := exec.Command(os.Args[0])
	second.Env = append(os.Environ(), "VGG_TEST_JOURNAL="+path)
	if exit, ok := errors.AsType[*exec.ExitError](second.Run()); !ok || exit.ExitCode() != 3 {
		t.Errorf("another process: %v", exit)
	}
	// Reading is allowed.
	r := &read{}
	reader, err := r.kind().Open(t.Context(), path)
	if err != nil || len(r.lines) != 1 {
		t.Errorf("%v, %v", r.lines, err)
	}
	reader.Close()
	add(t, f, 2)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, r = resume(t, path)
	if f.Close(); len(r.lines) != 2 {
		t.Errorf("%v, want both lines", r.lines)
	}
}

// What isn't the run's journal is refused and stays as it is.
func TestRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.jsonl")
	for _, c := range []struct {
		text, want string
		line       int // of the FormatError; −1: it is another error
	}{
		{"a letter", "line 1: not a file of tests", 1},
		{"a letter\n", "line 1: not a file of tests: invalid character", 1},
		{`{"format":"vgg test 2"}` + "\n", `line 1: not a file of tests: format "vgg test 2", want "vgg test 1"`, 1},
		{`{"format":"vgg test 1","lines":-1}` + "\n", "line 1: -1 lines", 1},
		{whole + `{"n":100}` + "\n", "line 4: number 100, want 0 to 99", 4},
		{whole + "\n", "line 4: ", 4},
		{strings.Replace(whole, "first", "other", 1), "results of another run: run other, want first", -1},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := new(read).kind().Resume(t.Context(), path, first)
		if err == nil || !strings.HasPrefix(err.Error(), path+": "+c.want) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
		if c.line > 0 {
			if e, ok := errors.AsType[*FormatError](err); !ok || e.Path != path || e.Line != c.line {
				t.Errorf("%q: %#v, want a FormatError of line %d", c.text, err, c.line)
			}
		} else if e, ok := errors.AsType[*OtherRunError](err); !ok || *e != (OtherRunError{path, "results", "", "run other, want first"}) {
			t.Errorf("%q: %#v, want an OtherRunError", c.text, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != c.text {
			t.Errorf("%q became %q, %v", c.text, b, err)
		}
	}
	if left, _ := filepath.Glob(path + ".*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
	// To a reader, a run that has just begun is no journal yet.
	if err := os.WriteFile(path, []byte(whole[:10]), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := new(read).kind().Open(t.Context(), path); err == nil || !strings.HasSuffix(err.Error(), "no header, want a file of tests") {
		t.Error(err)
	}
	if _, err := new(read).kind().Open(t.Context(), t.TempDir()); err == nil || !strings.HasSuffix(err.Error(), "not a file, want a file of tests") {
		t.Error(err)
	}
}

// What belongs to a new journal is prepared before the header is written; if it can't be,
// the next run prepares it again.
func TestBegin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.jsonl")
	begun := 0
	failing := errors.New("failing")
	k := new(read).kind()
	k.Unlocked = true
	k.Begin = func() error {
		if info, err := os.Stat(path); err != nil || info.Size() > 0 {
			t.Errorf("%v, %v: want an empty file", info, err)
		}
		if begun++; begun == 1 {
			return failing
		}
		return nil
	}
	if _, err := k.Resume(t.Context(), path, first); err != failing {
		t.Error(err)
	}
	for range 2 {
		f, err := k.Resume(t.Context(), path, first)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if begun != 2 {
		t.Errorf("prepared %d times, want 2", begun)
	}
}

// A device takes the lines, and has none to go on with.
func TestDevice(t *testing.T) {
	for range 2 {
		f, _ := resume(t, os.DevNull)
		if f.Resumed {
			t.Error("resumed")
		}
		add(t, f, 1)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestMerge(t *testing.T) {
	part := func(index, count int) Part {
		return Part{Path: fmt.Sprintf("%d.jsonl", index), Index: index, Count: count}
	}
	order, err := Merge("results", []Part{part(3, 3), part(1, 3), part(2, 3)})
	if err != nil || !reflect.DeepEqual(order, []int{1, 2, 0}) {
		t.Errorf("%v, %v", order, err)
	}
	other := part(1, 2)
	other.Difference = "scales [32], want [40]"
	for want, parts := range map[string][]Part{
		"no files of results, want at least one":                                   nil,
		"2.jsonl: shard 2/3, want one of 2":                                        {part(1, 2), part(2, 3)},
		"1.jsonl: shard 1/2, which is 1.jsonl already":                             {part(1, 2), part(2, 2), part(1, 2)},
		"2.jsonl: one of 4 shards, want the others too: no file for 1, 4":          {part(2, 4), part(3, 4)},
		"1.jsonl: results of another run than 2.jsonl: scales [32], want [40]":     {part(2, 2), other},
		"1.jsonl: one of 1048576 shards, want the others too: no file for 2, 3, 4": {part(1, 1<<20)},
	} {
		if _, err := Merge("results", parts); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestOpenCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.jsonl")
	f, _ := resume(t, path)
	for n := range 50 {
		if _, err := f.Append(line{n}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	vggtest.Cancel(t, 50, func(ctx context.Context) error {
		f, err := new(read).kind().Open(ctx, path)
		if err == nil {
			err = f.Close()
		}
		return err
	})
	vggtest.Cancel(t, 50, func(ctx context.Context) error {
		f, err := new(read).kind().Resume(ctx, path, first)
		if err == nil {
			err = f.Close()
		}
		return err
	})
}

func FuzzResume(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(whole[:60]))
	f.Add([]byte("{}\n{}\n"))
	f.Add([]byte(strings.Replace(whole[:51], "100", "0", 1)))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(dir, "j.jsonl")
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := new(read).kind().Resume(t.Context(), path, first)
		if err != nil {
			if b, _ := os.ReadFile(path); string(b) != string(text) {
				t.Fatalf("refused (%v), and became %q", err, b)
			}
			return
		}
		add(t, f, 7)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f, r := resume(t, path)
		if f.Close(); len(r.lines) == 0 || r.lines[len(r.lines)-1] != 7 {
			t.Fatalf("%v, want 7 last", r.lines)
		}
	})
}

// endless is a line without an end.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	e.read += len(b)
	return len(b), nil
}

// A line that doesn't end is refused before it fills the memory.
func TestEndlessLine(t *testing.T) {
	e := &endless{}
	if _, err := readLine(bufio.NewReader(e)); !errors.Is(err, errLine) || e.read > 2*maxLine {
		t.Errorf("%v after %d bytes", err, e.read)
	}
	long := strings.Repeat("x", 100_000)
	in := bufio.NewReader(strings.NewReader(long + "\nnext"))
	for _, want := range []string{long + "\n", "next"} {
		if got, err := readLine(in); string(got) != want || (err == io.EOF) != (want == "next") {
			t.Errorf("%d bytes and %v, want %d", len(got), err, len(want))
		}
	}
}
