package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

type options struct {
	time     time.Duration // of each target
	total    time.Duration // rounds of all targets begin until then; 0: one round
	least    int64         // inputs
	run      *regexp.Regexp
	corpus   string
	parallel int
	out      io.Writer
}

// errFailed says that a target failed or ran too few inputs, which has been printed.
var errFailed = errors.New("a target failed")

// pkg is a package with fuzz targets.
type pkg struct {
	Dir, ImportPath           string
	TestGoFiles, XTestGoFiles []string
	targets                   []string
}

// fuzz runs every target that is asked for.
func (o options) fuzz(ctx context.Context) error {
	pkgs, err := packages(ctx)
	if err != nil {
		return err
	}
	binaries, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		return err
	}
	defer os.RemoveAll(binaries)
	sums, err := readCounts(filepath.Join(o.corpus, countsFile))
	if err != nil {
		return err
	}
	until := time.Now().Add(o.total)
	for {
		if err := o.round(ctx, pkgs, binaries, sums); err != nil {
			return err
		}
		if !time.Now().Before(until) {
			return nil
		}
	}
}

// round runs every target once.
func (o options) round(ctx context.Context, pkgs []*pkg, binaries string, sums counts) error {
	var inputs int64
	ran, failed := 0, false
	for i, p := range pkgs {
		var targets []string
		for _, t := range p.targets {
			if o.run.MatchString(filepath.Base(p.ImportPath) + "." + t) {
				targets = append(targets, t)
			}
		}
		if len(targets) == 0 {
			continue
		}
		binary := filepath.Join(binaries, strconv.Itoa(i)+".test")
		if _, err := os.Stat(binary); err != nil {
			if err := build(ctx, p, binary); err != nil {
				return err
			}
		}
		for _, t := range targets {
			n, err := o.target(ctx, p, binary, t)
			if err := sums.add(filepath.Join(o.corpus, countsFile), o.relative(p)+" "+t, n); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			ran++
			inputs += n
			failed = failed || err != nil
			if err != nil && !errors.Is(err, errFailed) {
				return err
			}
		}
	}
	if ran == 0 {
		return fmt.Errorf("no target matches %q", o.run)
	}
	fmt.Fprintf(o.out, "%d targets, %d inputs; %d inputs in all runs with this corpus, of %d targets\n", ran, inputs, sums.sum(), len(sums))
	if failed {
		return errFailed
	}
	return nil
}

// build builds the tests of a package so that they count which code an input reaches. -fuzz
// would count in the standard library, too: then the counters, which are cleared and read for
// each input, are many times as many, and most of the time goes into that.
func build(ctx context.Context, p *pkg, binary string) error {
	c := exec.CommandContext(ctx, "go", "test", "-c", "-gcflags="+module+"/...=-d=libfuzzer", "-o", binary, p.ImportPath)
	if text, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", p.ImportPath, err, text)
	}
	return nil
}

const module = "github.com/verydeep/vgg"

// relative returns the name of a package within the module.
func (o options) relative(p *pkg) string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

var (
	declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	// A line of progress: "fuzz: elapsed: 3s, execs: 2686 (895/sec), new interesting: 1 (total: 6)".
	executed = regexp.MustCompile(`(?m)^fuzz: elapsed: .*, execs: (\d+) `)
)

// packages returns the module's packages with fuzz targets.
func packages(ctx context.Context) ([]*pkg, error) {
	list, err := exec.CommandContext(ctx, "go", "list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var found []*pkg
	for d := json.NewDecoder(bytes.NewReader(list)); ; {
		p := &pkg{}
		if err := d.Decode(p); err == io.EOF {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			for _, m := range declaration.FindAllSubmatch(text, -1) {
				p.targets = append(p.targets, string(m[1]))
			}
		}
		if len(p.targets) > 0 {
			found = append(found, p)
		}
	}
}

// target runs one target and returns how many inputs it ran.
func (o options) target(ctx context.Context, p *pkg, binary, name string) (int64, error) {
	corpus := filepath.Join(o.corpus, filepath.FromSlash(p.ImportPath))
	if err := os.MkdirAll(corpus, 0o777); err != nil {
		return 0, err
	}
	args := []string{
		"-test.run=^$", "-test.fuzz=^" + name + "$", "-test.fuzztime=" + o.time.String(),
		// By default an input that reaches new code is made smaller for up to a minute
		// before the next one is tried.
		"-test.fuzzminimizetime=5x", "-test.fuzzcachedir=" + corpus,
	}
	if o.parallel > 0 {
		args = append(args, "-test.parallel="+strconv.Itoa(o.parallel))
	}
	started := time.Now()
	log, err := run(ctx, p.Dir, binary, args)
	if err != nil && timeIsUp(log) {
		log, err = run(ctx, p.Dir, binary, args)
	}
	n := inputs(log)
	fmt.Fprintf(o.out, "%-28s %-24s %10d inputs in %.0f s\n", o.relative(p), name, n, time.Since(started).Seconds())
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(o.out, "%s%s: %v\n", log, name, err)
		return n, errFailed
	}
	if n < o.least {
		fmt.Fprintf(o.out, "%s: %d inputs, want %d\n%s", name, n, o.least, log)
		return n, errFailed
	}
	return n, nil
}

// memoryFolder is a folder in memory, where the system has one.
const memoryFolder = "/dev/shm"

// run runs a test binary in its package's folder and returns what it prints.
func run(ctx context.Context, dir, binary string, args []string) ([]byte, error) {
	c := exec.CommandContext(ctx, binary, args...)
	c.Dir = dir
	if info, err := os.Stat(memoryFolder); err == nil && info.IsDir() {
		c.Env = append(os.Environ(), "TMPDIR="+memoryFolder) // some targets write files
	}
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	return c.CombinedOutput()
}

// timeIsUp reports whether a target failed only since its time was up, as it can before Go
// 1.27 (go.dev/issue/75804).
func timeIsUp(log []byte) bool {
	return bytes.Contains(log, []byte("context deadline exceeded")) && !bytes.Contains(log, []byte("Failing input"))
}

// inputs returns how many inputs a target has run, by the last line of progress.
func inputs(log []byte) int64 {
	all := executed.FindAllSubmatch(log, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(all[len(all)-1][1]), 10, 64)
	return n
}
