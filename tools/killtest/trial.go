package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func (f fault) String() string {
	return [...]string{"left alone", "killed", "killed when a file changed", "disk full", "output full", "output closed", "halted"}[f]
}

// A fault is what is done to a process.
type fault int

const (
	none       fault = iota
	kill             // at a random moment
	killAtFile       // when a file is made, renamed or removed
	diskFull         // its folder's file system is full, or its files can't be that large
	outputFull       // its standard output is
	outputClosed
	halt // it is stopped for a while, some times, as by a slow disk
)

// plan draws what is done to a command. Most are kills.
func plan(rng *rand.Rand) fault {
	switch n := rng.IntN(100); {
	case n < 45:
		return kill
	case n < 86:
		return killAtFile
	case n < 91:
		return diskFull
	case n < 94:
		return outputFull
	case n < 97:
		return outputClosed
	}
	return halt
}

// leaveAlone runs a command twice and keeps what it writes for comparison. A third run beside
// the results of the first must end with the same, too.
func (k *killTest) leaveAlone(ctx context.Context, c *command) error {
	dir := filepath.Join(k.dir, "alone", strings.Map(inName, c.name))
	var outcomes [2]outcome
	for i := range outcomes {
		folder := fmt.Sprintf("%s.%d", dir, i)
		if err := k.prepare(c, folder, false); err != nil {
			return err
		}
		c.before = filesOf(folder)
		w := watch(folder)
		began := time.Now()
		r, err := k.start(ctx, c, folder, false, none, nil)
		c.events = max(c.events, w.end())
		c.took = max(c.took, time.Since(began))
		c.prints = r.printed
		if err == nil && (r.killed || r.code != 0) {
			err = fmt.Errorf("exit code %d\n%s", r.code, r.stderr)
		}
		if err == nil {
			outcomes[i], err = outcomeOf(c, folder)
		}
		if err != nil {
			return fmt.Errorf("%s, left alone: %w", c.name, err)
		}
	}
	c.want = outcomes[0]
	if d := c.want.differs(outcomes[1]); d != "" {
		return fmt.Errorf("%s, left alone twice: %s", c.name, d)
	}
	c.whole = map[string][]byte{}
	for _, name := range filesOf(dir + ".0") {
		b, err := os.ReadFile(filepath.Join(dir+".0", filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		c.size += int64(len(b))
		c.whole[name] = b
	}
	return nil
}

// inName replaces what has a meaning in the names of files.
func inName(r rune) rune {
	if strings.ContainsRune(` ,/\*`, r) {
		return '-'
	}
	return r
}

// prepare makes the folder of a trial.
func (k *killTest) prepare(c *command, dir string, earlier bool) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, name := range c.copies {
		from := filepath.Join(k.dir, "in", filepath.FromSlash(name))
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		if info.IsDir() {
			err = os.CopyFS(filepath.Join(dir, filepath.FromSlash(name)), os.DirFS(from))
		} else {
			err = copyFile(from, filepath.Join(dir, filepath.FromSlash(name)))
		}
		if err != nil {
			return err
		}
	}
	if earlier {
		for _, name := range c.replaces {
			file := filepath.Join(dir, filepath.FromSlash(name))
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), os.WriteFile(file, []byte(earlierText), 0o666)); err != nil {
				return err
			}
		}
	}
	return nil
}

// earlierText is in files that a command replaces.
const earlierText = "what was there before\n"

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o666)
}

// trial does a command harm until a run of it ends, and compares.
func (k *killTest) trial(ctx context.Context, c *command, dir string, rng *rand.Rand, until time.Time) (err error) {
	faults := []fault{plan(rng)}
	for rng.IntN(4) != 0 && len(faults) < 12 {
		faults = append(faults, plan(rng))
	}
	if c.events == 0 {
		for i, f := range faults {
			if f == killAtFile {
				faults[i] = kill
			}
		}
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w (in %s)", err, dir)
		}
	}()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	limit := func(int64) error { return nil }
	if slices.Contains(faults, diskFull) && k.mountable {
		d, err := mountDisk(dir)
		if err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, os.CopyFS(dir+".kept", os.DirFS(dir)))
			}
			err = errors.Join(err, d.unmount())
		}()
		limit = d.limit
	}
	earlier := len(c.replaces) > 0 && rng.IntN(3) == 0
	if err := k.prepare(c, dir, earlier); err != nil {
		return err
	}
	again := earlier
	for _, f := range append(faults, none) {
		if f != none && time.Now().After(until) {
			continue
		}
		if f == diskFull {
			if err := limit(rng.Int64N(c.size + c.size/2 + 1<<16)); err != nil {
				return err
			}
		}
		r, err := k.start(ctx, c, dir, again, f, rng)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := limit(-1); err != nil {
			return err
		}
		if err := k.judge(ctx, c, dir, f, r, earlier); err != nil {
			return err
		}
		again = true
	}
	got, err := outcomeOf(c, dir)
	if err != nil {
		return err
	}
	if d := c.want.differs(got); d != "" {
		return fmt.Errorf("after %v: %s", faults, d)
	}
	k.count(c, func(n *counts) { n.runs++ })
	if k.mountable && slices.Contains(faults, diskFull) {
		return nil // the folder is gone with its file system
	}
	return os.RemoveAll(dir)
}

// judge looks at how a run ended and what it left behind, and counts the fault.
func (k *killTest) judge(ctx context.Context, c *command, dir string, f fault, r result, earlier bool) error {
	wrong := func(want string) error {
		return fmt.Errorf("%v: exit code %d, want %s\n%s", f, r.code, want, r.stderr)
	}
	switch {
	case r.code == 1 && c.stays != "" && strings.Contains(r.stderr, c.stays) && k.whole(c, dir, ""):
		return nil
	case f == none || f == halt:
		if r.killed || r.code != 0 {
			return wrong("0")
		}
		if f == halt {
			k.count(c, func(n *counts) { n.halted++ })
		}
		return nil
	case f == kill || f == killAtFile:
		if !r.killed {
			if r.code != 0 {
				return wrong("0 of a run that ended before it was killed")
			}
			return nil
		}
		writing := slices.ContainsFunc(filesOf(dir), isTemporary)
		k.count(c, func(n *counts) {
			n.kills++
			if writing {
				n.writing++
			}
		})
	case f == diskFull:
		if r.code != 0 && (r.killed || r.code != 1 || !strings.Contains(r.stderr, "no space left") && !strings.Contains(r.stderr, "file too large")) {
			return wrong("1 and an error that tells that there is no space left")
		}
		k.count(c, func(n *counts) { n.fullDisk++ })
	case f == outputFull:
		if r.code == 0 && c.prints || r.code != 0 && !strings.Contains(r.stderr, "no space left") {
			return wrong("1 and an error that tells that there is no space left")
		}
		k.count(c, func(n *counts) { n.fullOutput++ })
	case f == outputClosed: // the system ends the process, if it writes there
		k.count(c, func(n *counts) { n.closed++ })
	}
	return k.left(ctx, c, dir, earlier)
}

// left returns an error if a file that a command left behind is half written and has a
// final name.
func (k *killTest) left(ctx context.Context, c *command, dir string, earlier bool) error {
	for _, name := range filesOf(dir) {
		if isTemporary(name) || matches(name, c.grows) || slices.Contains(c.before, name) {
			continue
		}
		file := filepath.Join(dir, filepath.FromSlash(name))
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		switch want, ok := c.whole[name]; {
		case matches(name, c.changes):
			if err := opens(file); err != nil {
				return fmt.Errorf("left behind: %w", err)
			}
		case earlier && slices.Contains(c.replaces, name) && string(b) == earlierText:
		case !ok:
			return fmt.Errorf("left behind: %s, which is no file of a whole run", name)
		case !matches(name, c.varies) && !bytes.Equal(c.ordered(name, b), c.ordered(name, want)):
			return fmt.Errorf("left behind: %s, of %d bytes, isn't that of a whole run, of %d", name, len(b), len(want))
		}
	}
	if len(c.refused) == 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, c.refused[0])); err != nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, k.vgg, c.refused[1:]...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	if err == nil && !k.whole(c, dir, c.refused[0]) {
		return fmt.Errorf("vgg %s takes what is half done for whole:\n%s", strings.Join(c.refused[1:], " "), text)
	}
	_ = os.Remove(filepath.Join(dir, "never.safetensors"))
	return nil
}

// whole reports whether the files of the whole run whose names begin so are there, whatever
// else is.
func (k *killTest) whole(c *command, dir, prefix string) bool {
	got, err := outcomeOf(c, dir)
	if err != nil {
		return false
	}
	for name, sum := range c.want {
		if strings.HasPrefix(name, prefix) && got[name] != sum {
			return false
		}
	}
	return true
}

// result is how a run ended.
type result struct {
	code    int
	killed  bool
	printed bool   // on standard output
	stderr  string // and what was printed, where errors are by --json
}

// temporaryFolder is, in the folder of a trial, that for temporary files.
const temporaryFolder = "tmp"

// start runs a command in dir, under a fault, until it ends.
func (k *killTest) start(ctx context.Context, c *command, dir string, again bool, f fault, rng *rand.Rand) (r result, err error) {
	program, args := k.vgg, slices.Clone(c.args)
	if c.self {
		program, args = k.self, []string{pullCommand, k.address, "cache"}
	}
	if again {
		args = append(args, c.again...)
	}
	if f == diskFull && !k.mountable {
		// In units of 512 bytes, or of 1024.
		args = append([]string{"-c", `ulimit -f "$0" && exec "$@"`, fmt.Sprint(rng.Int64N(c.size/1024 + 8)), program}, args...)
		program = "sh"
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 10 * time.Second
	temporary := filepath.Join(dir, temporaryFolder)
	if err := os.MkdirAll(temporary, 0o777); err != nil {
		return r, err
	}
	if temporary, err = filepath.Abs(temporary); err != nil {
		return r, err
	}
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(k.dir, "cache"), "TMPDIR="+temporary, "SOURCE_DATE_EPOCH=0")
	if c.input != "" {
		input, err := os.Open(filepath.Join(k.dir, filepath.FromSlash(c.input)))
		if err != nil {
			return r, err
		}
		defer input.Close()
		cmd.Stdin = input
	}
	var stderr bytes.Buffer
	stdout := announced{address: make(chan string, 1)}
	cmd.Stderr, cmd.Stdout = &stderr, &stdout
	switch f {
	case outputFull:
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			return r, err
		}
		defer full.Close()
		cmd.Stdout = full
	case outputClosed:
		read, write, err := os.Pipe()
		if err != nil {
			return r, err
		}
		defer write.Close()
		cmd.Stdout = write
		// A few bytes may be read before.
		go func() {
			_, _ = io.CopyN(io.Discard, read, rng.Int64N(100)+1)
			read.Close()
		}()
		if rng.IntN(2) == 0 {
			read.Close()
		}
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.harm(c, dir, cmd.Process, f, rng, done)
	}()
	var answers []byte
	used := make(chan struct{})
	go func() {
		defer close(used)
		if c.service {
			answers = k.use(ctx, dir, stdout.address, cmd.Process, max(c.took, time.Second), done)
		}
	}()
	err = cmd.Wait()
	close(done)
	<-ended
	<-used
	r = result{code: cmd.ProcessState.ExitCode(), printed: stdout.text.Len() > 0, stderr: stderr.String() + stdout.text.String()} // with --json, the error is printed too
	if c.service && r.code == 0 && len(answers) > 0 {
		if err := os.WriteFile(filepath.Join(dir, answersFile), answers, 0o666); err != nil {
			return r, err
		}
	}
	r.killed = r.code == -1 && (f == kill || f == killAtFile)
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok && !errors.Is(err, exec.ErrWaitDelay) {
		return r, err
	}
	return r, nil
}

// harm does a running process its fault, until done is closed.
func (k *killTest) harm(c *command, dir string, p *os.Process, f fault, rng *rand.Rand, done <-chan struct{}) {
	sleep := func(d time.Duration) bool {
		select {
		case <-done:
			return false
		case <-time.After(d):
			return true
		}
	}
	random := func(most time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(most) + 1)) }
	switch f {
	case kill:
		if sleep(random(c.took + c.took/10)) {
			p.Kill()
		}
	case killAtFile:
		w := watch(dir)
		defer w.end()
		w.after(1+rng.IntN(c.events+1), done)
		if rng.IntN(2) == 0 || sleep(random(3*time.Millisecond)) {
			p.Kill()
		}
	case halt:
		for range 10 {
			if !sleep(random(c.took/5)) || !pause(p, true) {
				return
			}
			sleep(random(50 * time.Millisecond))
			pause(p, false)
		}
	}
}
