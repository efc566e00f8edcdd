// Command killtest shows that no command of vgg loses a result. It runs each command that
// writes to the end, and then again and again while it does it harm: it kills the process at
// random moments, fills the disk, closes its standard output, stops it for a while. Each time
// it looks at the files that are left, runs the command anew until it ends, and compares all
// its files, bit for bit, with those of the run that was left alone.
//
//	go run ./tools/killtest -time 1h
//	go run ./tools/killtest -kills 500 -run '^train'
//
// What it wants of a command is in commands.go: a file under its final name is whole at any
// moment, or is one that a run continues from; the next run ends, with the same bits; and it
// removes what a killed process has left behind. The exit code is 0 if all that holds, 1 if
// it doesn't, and 2 on a wrong use. The files of a failed trial are kept, and named.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == pullCommand {
		if err := pullRelease(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "vgg: %v\n", err)
			os.Exit(1)
		}
		return
	}
	log.SetFlags(0)
	log.SetPrefix("killtest: ")
	k := killTest{out: os.Stdout}
	run := flag.String("run", "", "only the commands whose names match")
	flag.DurationVar(&k.time, "time", 3*time.Minute, "how long it goes on, after all commands were left alone once")
	flag.IntVar(&k.kills, "kills", 0, "end after so many kills (0: when the time is up)")
	flag.Uint64Var(&k.seed, "seed", 1, "seed of the moments")
	flag.IntVar(&k.parallel, "parallel", 2, "commands at a time")
	flag.StringVar(&k.vgg, "vgg", "", "the program (built from this module)")
	flag.Parse()
	var err error
	if k.run, err = regexp.Compile(*run); err != nil || flag.NArg() > 0 || k.parallel < 1 {
		log.Printf("wrong use: -run %q, -parallel %d, arguments %q: %v", *run, k.parallel, flag.Args(), err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := k.main(ctx); err != nil {
		log.Fatal(err)
	}
}

// killTest is one run of this program.
type killTest struct {
	vgg, self string // programs
	time      time.Duration
	kills     int
	seed      uint64
	parallel  int
	run       *regexp.Regexp
	dir       string
	out       io.Writer
	address   string // of the server that pull downloads from
	mountable bool   // file systems may be mounted

	mu       sync.Mutex
	done     map[string]*counts
	failures []string
	skipped  []string
}

// counts is what was done to a command.
type counts struct {
	busy                                 bool // a trial of it runs
	runs, kills, writing                 int  // writing: kills at which a file was half written
	fullDisk, fullOutput, closed, halted int
}

func (c *counts) harm() int { return c.kills + c.fullDisk + c.fullOutput + c.closed + c.halted }

// main makes a folder, builds what is needed and runs the trials.
func (k *killTest) main(ctx context.Context) (err error) {
	if k.dir, err = os.MkdirTemp("", "killtest-"); err != nil {
		return err
	}
	if err := k.build(ctx); err != nil {
		return err
	}
	if err := k.trials(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.Join(err, os.RemoveAll(k.dir))
		}
		return fmt.Errorf("%w\nthe files are in %s", err, k.dir)
	}
	return os.RemoveAll(k.dir)
}

// build builds the programs.
func (k *killTest) build(ctx context.Context) error {
	programs := map[*string]string{&k.self: "tools/killtest"}
	if k.vgg == "" {
		programs[&k.vgg] = "cmd/vgg"
	}
	for path, pkg := range programs {
		*path = filepath.Join(k.dir, filepath.Base(pkg)+".exe")
		if text, err := exec.CommandContext(ctx, "go", "build", "-o", *path, "github.com/verydeep/vgg/"+pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
		}
	}
	var err error
	k.vgg, err = filepath.Abs(k.vgg)
	return err
}

// trials runs all commands left alone, and then harms them until the time is up. Its error
// tells what was lost.
func (k *killTest) trials(ctx context.Context) error {
	began := time.Now()
	stop, err := k.serve()
	if err != nil {
		return err
	}
	defer stop()
	if err := k.inputs(ctx); err != nil {
		return fmt.Errorf("inputs: %w", err)
	}
	served, err := os.ReadFile(filepath.Join(k.dir, "in", "net.safetensors"))
	if err != nil {
		return err
	}
	k.address += fmt.Sprintf("#%x", sha256.Sum256(served))
	if err := k.checkMount(); err != nil {
		k.skipped = append(k.skipped, "full disk by a small file system: needs the right to mount one; limits on the size of files take its place")
	}
	all := slices.DeleteFunc(commands(), func(c *command) bool { return !k.run.MatchString(c.name) })
	if len(all) == 0 {
		return fmt.Errorf("no command matches %q", k.run)
	}
	k.done = map[string]*counts{}
	for _, c := range all {
		k.done[c.name] = &counts{}
	}
	if err := k.each(all, func(c *command) error { return k.leaveAlone(ctx, c) }); err != nil {
		return err
	}
	fmt.Fprintf(k.out, "%d commands left alone, after %v\n", len(all), time.Since(began).Round(time.Second))
	until := time.Now().Add(k.time)
	stopTelling := k.tell(all)
	var wg sync.WaitGroup
	for worker := range k.parallel {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(k.seed, uint64(worker)))
			for n := 0; ctx.Err() == nil && time.Now().Before(until); n++ {
				c := k.next(all)
				if c == nil {
					return
				}
				err := k.trial(ctx, c, filepath.Join(k.dir, "trials", fmt.Sprintf("%d-%d", worker, n)), rng, until)
				k.mu.Lock()
				k.done[c.name].busy = false
				if err != nil && ctx.Err() == nil {
					k.failures = append(k.failures, fmt.Sprintf("%s: %v", c.name, err))
					fmt.Fprintf(k.out, "FAILED %s: %v\n", c.name, err)
				}
				k.mu.Unlock()
			}
		})
	}
	wg.Wait()
	stopTelling()
	k.report(all, time.Since(began))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(k.failures) > 0 {
		return fmt.Errorf("%d trials failed:\n%s", len(k.failures), strings.Join(k.failures, "\n"))
	}
	for _, c := range all {
		if k.done[c.name].kills > 0 {
			return nil
		}
	}
	return errors.New("nothing was killed: want more -time")
}

// tell prints the number of kills each minute.
func (k *killTest) tell(all []*command) (stop func()) {
	ticks, quit, ended := time.NewTicker(time.Minute), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-quit:
				return
			case <-ticks.C:
			}
			k.mu.Lock()
			var kills, runs int
			for _, c := range all {
				kills += k.done[c.name].kills
				runs += k.done[c.name].runs
			}
			fmt.Fprintf(k.out, "%d kills, %d results compared, %d lost\n", kills, runs, len(k.failures))
			k.mu.Unlock()
		}
	}()
	return func() {
		ticks.Stop()
		close(quit)
		<-ended
	}
}

// each calls do for every command, several at a time.
func (k *killTest) each(all []*command, do func(*command) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	next := make(chan int)
	for range k.parallel {
		wg.Go(func() {
			for i := range next {
				errs[i] = do(all[i])
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// next returns the command that was harmed least, or nil when there were enough kills.
func (k *killTest) next(all []*command) *command {
	k.mu.Lock()
	defer k.mu.Unlock()
	kills := 0
	var least *command
	for _, c := range all {
		n := k.done[c.name]
		kills += n.kills
		if least == nil || n.busy != k.done[least.name].busy && !n.busy || n.busy == k.done[least.name].busy && n.harm() < k.done[least.name].harm() {
			least = c
		}
	}
	if k.kills > 0 && kills >= k.kills || len(k.failures) >= mostFailures {
		return nil
	}
	k.done[least.name].busy = true
	return least
}

// mostFailures is the number of failed trials that are enough.
const mostFailures = 20

// count changes the counts of a command.
func (k *killTest) count(c *command, change func(*counts)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k.done[c.name])
}

// report prints what was done.
func (k *killTest) report(all []*command, took time.Duration) {
	w := tabwriter.NewWriter(k.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, c counts) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, c.runs, c.kills, c.writing, c.fullDisk, c.fullOutput, c.closed, c.halted)
	}
	fmt.Fprintln(w, "command\truns\tkills\twhile writing\tdisk full\toutput full\toutput closed\thalted\t")
	var sum counts
	for _, cmd := range all {
		c := *k.done[cmd.name]
		line(cmd.name, c)
		sum.runs += c.runs
		sum.kills += c.kills
		sum.writing += c.writing
		sum.fullDisk += c.fullDisk
		sum.fullOutput += c.fullOutput
		sum.closed += c.closed
		sum.halted += c.halted
	}
	line("all", sum)
	w.Flush()
	for _, s := range k.skipped {
		fmt.Fprintln(k.out, "skipped:", s)
	}
	fmt.Fprintf(k.out, "%d kills and %d other faults of %d commands in %v on %d cores; %d results lost\n",
		sum.kills, sum.harm()-sum.kills, len(all), took.Round(time.Second), runtime.NumCPU(), len(k.failures))
}
