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
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

type options struct {
	time     time.Duration // of each target
	total    time.Duration // rounds of all targets begin until then; 0: one round
	least    int64         // inputs
	run      *regexp.Regexp
	corpus   string
	beside   int // targets at a time
	parallel int // processes of each
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

// target is a fuzz target to run.
type target struct {
	*pkg
	name string
}

// fuzz runs every target that is asked for.
func (o options) fuzz(ctx context.Context) error {
	pkgs, err := packages(ctx)
	if err != nil {
		return err
	}
	targets := o.chosen(pkgs)
	if len(targets) == 0 {
		return fmt.Errorf("no target matches %q", o.run)
	}
	binaries, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		return err
	}
	defer os.RemoveAll(binaries)
	if err := build(ctx, targets, binaries); err != nil {
		return err
	}
	sums, err := readCounts(filepath.Join(o.corpus, countsFile))
	if err != nil {
		return err
	}
	until := time.Now().Add(o.total)
	for {
		if err := o.round(ctx, targets, binaries, sums); err != nil {
			return err
		}
		if !time.Now().Before(until) {
			return nil
		}
	}
}

// chosen returns the targets that are asked for.
func (o options) chosen(pkgs []*pkg) []target {
	var list []target
	for _, p := range pkgs {
		for _, name := range p.targets {
			if o.run.MatchString(filepath.Base(p.ImportPath) + "." + name) {
				list = append(list, target{p, name})
			}
		}
	}
	return list
}

// round runs every target once, o.beside of them at a time.
func (o options) round(ctx context.Context, targets []target, binaries string, sums counts) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		mutex  sync.Mutex // of what follows, sums and o.out
		inputs int64
		failed bool
		broken error
		wait   sync.WaitGroup
	)
	queue := make(chan target)
	for range max(1, o.beside) {
		wait.Go(func() {
			for t := range queue {
				n, text, err := o.target(ctx, t, binaries)
				mutex.Lock()
				io.WriteString(o.out, text)
				inputs += n
				failed = failed || err != nil
				if errors.Is(err, errFailed) {
					err = nil
				}
				if e := sums.add(filepath.Join(o.corpus, countsFile), o.relative(t.pkg)+" "+t.name, n); err == nil {
					err = e
				}
				if err != nil && broken == nil {
					broken = err
					stop()
				}
				mutex.Unlock()
			}
		})
	}
	for _, t := range targets {
		select {
		case queue <- t:
		case <-ctx.Done():
		}
	}
	close(queue)
	wait.Wait()
	if broken != nil {
		return broken
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fmt.Fprintf(o.out, "%d targets, %d inputs; %d inputs in all runs with this corpus, of %d targets\n", len(targets), inputs, sums.sum(), len(sums))
	if failed {
		return errFailed
	}
	return nil
}

// build builds the tests of the targets' packages, all at once, so that they count which code
// an input reaches. -fuzz would count in the standard library, too: then the counters, which
// are cleared and read for each input, are many times as many, and most of the time goes into
// that.
func build(ctx context.Context, targets []target, folder string) error {
	args := []string{"test", "-c", "-vet=off", "-gcflags=" + module + "/...=-d=libfuzzer", "-o", folder + string(filepath.Separator)}
	for _, t := range targets {
		if args[len(args)-1] != t.ImportPath {
			args = append(args, t.ImportPath)
		}
	}
	if text, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
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

// target runs one target and returns how many inputs it ran, and what there is to say.
func (o options) target(ctx context.Context, t target, binaries string) (n int64, said string, err error) {
	corpus := filepath.Join(o.corpus, filepath.FromSlash(t.ImportPath))
	if err := os.MkdirAll(corpus, 0o777); err != nil {
		return 0, "", err
	}
	binary := filepath.Join(binaries, path.Base(t.ImportPath)+".test")
	started := time.Now()
	var log []byte
	for span := o.time; span > 0 && err == nil; span = more(n, o.least, o.time, time.Since(started)) {
		args := []string{
			"-test.run=^$", "-test.fuzz=^" + t.name + "$", "-test.fuzztime=" + span.String(),
			// By default an input that reaches new code is made smaller for up to a minute
			// before the next one is tried.
			"-test.fuzzminimizetime=5x", "-test.fuzzcachedir=" + corpus,
		}
		if o.parallel > 0 {
			args = append(args, "-test.parallel="+strconv.Itoa(o.parallel))
		}
		log, err = run(ctx, t.Dir, binary, args)
		if err != nil && timeIsUp(log) {
			log, err = run(ctx, t.Dir, binary, args)
		}
		n += inputs(log)
	}
	said = fmt.Sprintf("%-28s %-24s %10d inputs in %.0f s\n", o.relative(t.pkg), t.name, n, time.Since(started).Seconds())
	switch {
	case ctx.Err() != nil:
		return n, said, ctx.Err()
	case err != nil:
		return n, said + fmt.Sprintf("%s%s: %v\n", log, t.name, err), errFailed
	case n < o.least:
		return n, said + fmt.Sprintf("%s: %d inputs, want %d\n%s", t.name, n, o.least, log), errFailed
	}
	return n, said, nil
}

// more is how much longer a target runs that has run n inputs in the time that has passed: a
// little longer than the rest takes at that rate, and no more than four times its time in all.
func more(n, least int64, span, passed time.Duration) time.Duration {
	if n >= least || passed >= 4*span {
		return 0
	}
	rest := passed * time.Duration(least-n) / time.Duration(max(1, n)) * 5 / 4
	return min(rest, 4*span-passed).Round(time.Millisecond) + time.Millisecond
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
