package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/comm/launch"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/wholefile"
)

// rankCount is the value of --ranks: a number of ranks in this process, "mpi" for one in each
// process that a launcher started, or "mpi:N" for N in each.
type rankCount struct {
	n   int
	mpi bool // join other processes, even if no launcher is known by its variables
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *rankCount) UnmarshalText(text []byte) error {
	number, mpi := strings.CutPrefix(string(text), "mpi")
	number = strings.TrimPrefix(number, ":")
	n, err := strconv.Atoi(cmp.Or(number, "1"))
	if err != nil || n < 1 || n > maxRanks || !mpi && number == "" {
		return fmt.Errorf("%q, want a number of 1 to %d, or mpi, or mpi:N", text, maxRanks)
	}
	*r = rankCount{n, mpi}
	return nil
}

// errWithoutMPI is the error of a program that can't join other processes.
var errWithoutMPI = errors.New("this program was built without MPI, and each process would work for itself and on the same files: build it with go build -tags mpi ./cmd/vgg; or set VGG_MPI=off, so that each process does its own command")

// processes are the ones that work on a command together, of which this is one.
type processes struct {
	comm.Group
	places []processPlace // of all, by rank
	log    io.Closer      // of this process; nil: none
}

// processPlace is what the processes know of each other.
type processPlace struct {
	Host    string
	CPUs    string // that the process may use; those of two processes that share them are the same
	Count   int    // of them
	Sets    []string
	Devices string // that the environment lets the process see; "": all
	Threads int    // of --threads; 0: not given
}

// Abort implements [comm.Group]. The exit code is rank 0's, which must know what a scheduler does
// about the reason.
func (p *processes) Abort(err error) {
	if temporary(err) {
		err = temporaryError{err}
	}
	p.Group.Abort(err)
}

// temporaryError is an error that tells other processes that it is temporary.
type temporaryError struct{ error }

func (e temporaryError) Unwrap() error        { return e.error }
func (e temporaryError) Is(target error) bool { return target == comm.ErrTemporary }

// first reports whether this process reads and writes the results: it is alone, or rank 0.
func (p *processes) first() bool { return p == nil || p.Rank() == 0 }

// join joins the processes of a launcher, if there is one or if forced. It returns nil for a
// process alone.
func (e *environment) join(forced bool, threads *int, logs string) (*processes, error) {
	place, launched := launch.Find(e.getenv)
	if !forced && (!launched || place.Size == 1) {
		return nil, nil
	}
	if shared, ok := e.stderr.(*sharedWriter); ok && place.Rank > 0 {
		shared.seen.mu.Lock()
		shared.seen.any = true // rank 0 says what is at work
		shared.seen.mu.Unlock()
	}
	group, err := openGroup(e.ctx, e.getenv("VGG_MPI"))
	if err != nil {
		if place.Rank > 0 && errors.Is(err, errWithoutMPI) {
			return nil, shownError{err} // rank 0 says it
		}
		if launched { // by itself: the others may wait for this one
			err = fmt.Errorf("this is %v: %w", place, err)
		}
		return nil, err
	}
	p := &processes{Group: group}
	if p.Rank() > 0 {
		e.stdout, e.stderr = io.Discard, io.Discard
		if logs != "" {
			log, err := rankLog(logs, p.Rank())
			if err != nil {
				return p, err
			}
			e.stdout, e.stderr, p.log = log, log, log
		}
	}
	return p, p.agree(e, threads)
}

// rankLog makes the file for what a rank prints.
func rankLog(dir string, rank int) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join(dir, fmt.Sprintf("rank-%d.log", rank)))
}

// agree chooses the instruction set that all processes can run, and divides the processors of a
// machine among those that share them.
func (p *processes) agree(e *environment, threads *int) error {
	host, _ := os.Hostname()
	mine := processPlace{Host: host, CPUs: allowedCPUs(), Count: runtime.NumCPU(), Devices: visibleDevices(e.getenv), Threads: *threads}
	if set := e.getenv("VGG_CPU"); set != "" {
		mine.Sets = []string{set}
	} else {
		for _, s := range kernel.ISAs() {
			mine.Sets = append(mine.Sets, s.Name())
		}
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	all, err := comm.Gather(context.Background(), p, text)
	if err != nil {
		return err
	}
	p.places = make([]processPlace, len(all))
	for rank, text := range all {
		if err := json.Unmarshal(text, &p.places[rank]); err != nil {
			return fmt.Errorf("rank %d: %w", rank, err)
		}
	}
	if *threads == 0 {
		*threads = p.threads(p.Rank())
	}
	set, remark, err := commonSet(p.places)
	if err != nil {
		return err
	}
	if remark != "" && p.first() {
		e.remark(remark)
	}
	return kernel.Use(set)
}

// threads is the number of threads of a process: its share of the processors that it may use.
func (p *processes) threads(rank int) int {
	own := p.places[rank]
	if own.Threads > 0 {
		return own.Threads
	}
	sharing := 0
	for _, other := range p.places {
		if other.Host == own.Host && other.CPUs == own.CPUs {
			sharing++
		}
	}
	return max(1, own.Count/sharing)
}

// visibleDevices lists the GPUs that a process sees; "" if the environment doesn't tell.
func visibleDevices(getenv func(string) string) string {
	return cmp.Or(getenv("CUDA_VISIBLE_DEVICES"), getenv("HIP_VISIBLE_DEVICES"), getenv("ROCR_VISIBLE_DEVICES"))
}

// firstDevice is the number of the first device that the process takes, of count in each. Those
// that see the same ones on a machine share them in the order of their ranks. If a launcher
// gives each its own, there are no more than count to see.
func (p *processes) firstDevice(count int) int {
	if p == nil {
		return 0
	}
	own := p.places[p.Rank()]
	if own.Devices != "" && len(strings.Split(own.Devices, ",")) <= count {
		return 0
	}
	first := 0
	for _, other := range p.places[:p.Rank()] {
		if other.Host == own.Host && other.Devices == own.Devices {
			first += count
		}
	}
	return first
}

// commonSet returns the best instruction set of rank 0's that all processes can run, with a
// remark if it isn't everybody's best. Instruction sets round differently, so all use one.
func commonSet(places []processPlace) (set, remark string, err error) {
	for _, set := range places[0].Sets {
		if !slices.ContainsFunc(places, func(p processPlace) bool { return !slices.Contains(p.Sets, set) }) {
			for rank, p := range places {
				if best := places[0].Sets[0]; best != set && !slices.Contains(p.Sets, best) {
					return set, fmt.Sprintf("rank %d (%s) can't run %s: all ranks compute with %s", rank, p.Host, best, set), nil
				}
				if p.Sets[0] != set {
					remark = fmt.Sprintf("rank %d (%s) could run %s, others can't: all ranks compute with %s", rank, p.Host, p.Sets[0], set)
				}
			}
			return set, remark, nil
		}
	}
	for rank, p := range places {
		if !slices.Contains(p.Sets, places[0].Sets[0]) {
			return "", "", fmt.Errorf("rank %d (%s) has the instruction sets %s, rank 0 (%s) %s: want one that all can run (VGG_CPU)",
				rank, p.Host, strings.Join(p.Sets, ", "), places[0].Host, strings.Join(places[0].Sets, ", "))
		}
	}
	return "", "", fmt.Errorf("no instruction set that all ranks can run: want one for all (VGG_CPU)")
}

// allowedCPUs lists the processors that this process may use, where the system tells; "" where
// it doesn't.
func allowedCPUs() string {
	text, err := wholefile.Read("/proc/self/status", wholefile.MaxText)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return strings.TrimSpace(list)
		}
	}
	return ""
}

// describe says in a line which processes work, of ranks in each.
func (p *processes) describe(ranks int) string {
	hosts := map[string]int{}
	var order []string
	for _, place := range p.places {
		if hosts[place.Host]++; hosts[place.Host] == 1 {
			order = append(order, place.Host)
		}
	}
	const most = 8
	var list []string
	for _, h := range order[:min(most, len(order))] {
		list = append(list, fmt.Sprintf("%d on %s", hosts[h], h))
	}
	if n := len(order) - most; n > 0 {
		list = append(list, fmt.Sprintf("and %d machines more", n))
	}
	return fmt.Sprintf("Ranks: %d, in %d processes (%s), %d threads in each, %s", ranks*p.Size(), p.Size(), strings.Join(list, ", "), p.threads(0), kernel.Current().Name())
}

// share sets v to that of rank 0; nothing for a process alone.
func (p *processes) share(v any) error {
	if p == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if text, err = comm.Share(context.Background(), p, 0, text); err != nil || p.first() {
		return err
	}
	return json.Unmarshal(text, v)
}

// leave ends the common work. The error is rank 0's to tell: the others end well, since a
// launcher ends the rest when one doesn't, and rank 0 may still be writing.
func (p *processes) leave(err error) error {
	if p == nil {
		return err
	}
	if err != nil {
		p.Abort(err)
	} else {
		err = p.Barrier(context.Background()) // one may have failed after the last call of all
	}
	if p.log != nil {
		if err != nil {
			fmt.Fprintf(p.log.(io.Writer), "vgg: %v\n", err)
		}
		p.log.Close()
	}
	closeErr := closeGroup(p.Group)
	if !p.first() {
		return nil
	}
	if err == nil {
		err = closeErr
	}
	return err
}
