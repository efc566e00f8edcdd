// Command mutate damages valid files of every format that vgg reads, and reads them.
//
//	go run ./tools/mutate -n 1000000
//	go run ./tools/mutate -time 30s -run 'mat|keras'
//
// A file gets bit flips, cuts, parts of another file, and other numbers where lengths may be;
// half of the ZIP and PNG files get fitting checksums again. Whatever is in a file, reading it
// must not panic, must end within -limit of processor time, and must take at most ten times the file and 64 MiB
// of memory; a network that opens must give scores that are finite, or an error. File i is a
// function of -seed and i. One that fails is written to the folder -keep. The exit code is 1
// then, and 2 on a wrong use.
//
// Each process reads one file at a time, so that it can tell how much memory a file takes.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
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
	log.SetFlags(0)
	log.SetPrefix("mutate: ")
	var o options
	run := flag.String("run", "", "only the kinds of files that match")
	flag.Int64Var(&o.N, "n", 0, "number of files (0: until the time is up)")
	flag.DurationVar(&o.Time, "time", 30*time.Second, "how long it goes on, unless -n is given")
	flag.DurationVar(&o.Limit, "limit", 30*time.Second, "longest processor time of a file")
	flag.Uint64Var(&o.Seed, "seed", 1, "seed of the changes")
	flag.Int64Var(&o.From, "from", 0, "first file")
	flag.IntVar(&o.Parallel, "parallel", runtime.NumCPU(), "processes")
	flag.StringVar(&o.Keep, "keep", "mutated", "folder for files that fail")
	flag.IntVar(&o.Worker, "worker", -1, "of the processes this one is (internal)")
	flag.Parse()
	var err error
	if o.run, err = regexp.Compile(*run); err != nil || flag.NArg() > 0 || o.Parallel < 1 {
		log.Printf("wrong use: -run %q, -parallel %d, arguments %q: %v", *run, o.Parallel, flag.Args(), err)
		os.Exit(2)
	}
	if o.Worker >= 0 {
		err = o.work(os.Stdout)
	} else {
		err = o.start(os.Stdout)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// options are those of the command line.
type options struct {
	N, From  int64
	Time     time.Duration
	Limit    time.Duration
	Seed     uint64
	Parallel int
	Keep     string
	Worker   int
	run      *regexp.Regexp
}

// tally is what a process has done, or found.
type tally struct {
	Kind    string `json:"kind"`
	Files   int64  `json:"files,omitempty"`
	Opened  int64  `json:"opened,omitempty"` // of them, without an error
	Failure string `json:"failure,omitempty"`
}

// mostFailures is the number of failures of a process that are enough.
const mostFailures = 50

// start runs the processes and adds up what they report.
func (o options) start(out io.Writer) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt) // the processes hear it, too, and report
	began := time.Now()
	var mu sync.Mutex
	sums := map[string]tally{}
	var failures []string
	var wg sync.WaitGroup
	for worker := range o.Parallel {
		wg.Go(func() {
			cmd := exec.Command(program, append(slices.Clone(os.Args[1:]), "-parallel", fmt.Sprint(o.Parallel), "-worker", fmt.Sprint(worker))...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			pipe, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err == nil {
				lines := bufio.NewScanner(pipe)
				lines.Buffer(nil, 1<<24)
				for lines.Scan() {
					var t tally
					if json.Unmarshal(lines.Bytes(), &t) != nil {
						t.Failure = lines.Text()
					}
					mu.Lock()
					s := sums[t.Kind]
					sums[t.Kind] = tally{Files: s.Files + t.Files, Opened: s.Opened + t.Opened}
					if t.Failure != "" {
						failures = append(failures, t.Kind+": "+t.Failure)
						fmt.Fprintf(out, "FAILED %s: %s\n", t.Kind, t.Failure)
					}
					mu.Unlock()
				}
				err = cmp.Or(lines.Err(), cmd.Wait())
			}
			if err != nil {
				mu.Lock()
				failures = append(failures, fmt.Sprintf("process %d: %v\n%s", worker, err, stderr.String()))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "format\tfiles\topened\t")
	var all tally
	for _, kind := range slices.Sorted(maps.Keys(sums)) {
		s := sums[kind]
		fmt.Fprintf(w, "%s\t%d\t%d\t\n", kind, s.Files, s.Opened)
		all.Files += s.Files
		all.Opened += s.Opened
	}
	fmt.Fprintf(w, "all\t%d\t%d\t\n", all.Files, all.Opened)
	w.Flush()
	fmt.Fprintf(out, "%d mutated files of %d formats from seed %d in %v; %d failures\n", all.Files, len(sums), o.Seed, time.Since(began).Round(time.Second), len(failures))
	if len(failures) > 0 {
		return errors.New(strings.Join(failures, "\n"))
	}
	return nil
}

// keep writes a file that failed and returns its path.
func (o options) keep(kind string, i int64, data []byte) string {
	name := filepath.Join(o.Keep, fmt.Sprintf("%s-%d-%d", strings.ReplaceAll(kind, " ", "-"), o.Seed, i))
	if err := os.MkdirAll(o.Keep, 0o777); err != nil {
		return err.Error()
	}
	if err := os.WriteFile(name, data, 0o666); err != nil {
		return err.Error()
	}
	return name
}
