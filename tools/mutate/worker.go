package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync"
	"time"
)

const (
	// memoryFactor times the file and memorySlack bytes are the most memory of reading it.
	memoryFactor = 10
	memorySlack  = 64 << 20
	// memoryEnd ends the process, of which this is the memory that it has from the system.
	memoryEnd = 2 << 30
)

// waits times the limit is the longest that a file may take on a busy machine.
const waits = 20

// errNotFinite is the error of a check that got numbers that aren't finite without an error.
var errNotFinite = errors.New("opens, and gives scores that are not finite, without an error")

// work reads the files that fall to this process.
func (o options) work(out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp(scratch(), "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all, err := kinds(dir)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(k *kind) bool { return !o.run.MatchString(k.name) })
	if len(all) == 0 {
		return fmt.Errorf("no kind of files matches %q", o.run)
	}
	w := &watchdog{options: o}
	go w.watch()
	lines := json.NewEncoder(out)
	tallies := make([]tally, len(all))
	until := time.Now().Add(o.Time)
	failures := 0
	for i := o.From + int64(o.Worker); ctx.Err() == nil && failures < mostFailures; i += int64(o.Parallel) {
		if o.N > 0 && i >= o.From+o.N || o.N == 0 && time.Now().After(until) {
			break
		}
		k := all[i%int64(len(all))]
		t := &tallies[i%int64(len(all))]
		rng := rand.New(rand.NewPCG(o.Seed, uint64(i)))
		data := k.mutate(rng)
		opened, err := w.read(k, i, data)
		t.Files++
		if opened {
			t.Opened++
		}
		if err != nil {
			failures++
			if err := lines.Encode(tally{Kind: k.name, Failure: fmt.Sprintf("%v (%d bytes in %s)", err, len(data), o.keep(k.name, i, data))}); err != nil {
				return err
			}
		}
	}
	for i, k := range all {
		tallies[i].Kind = k.name
		if err := lines.Encode(tallies[i]); err != nil {
			return err
		}
	}
	return nil
}

// scratch returns a folder in memory, if the system has one.
func scratch() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// watchdog ends the process when a file takes too long, or far too much memory.
type watchdog struct {
	options
	mu    sync.Mutex
	kind  *kind
	i     int64
	data  []byte
	began time.Time     // zero between files
	used  time.Duration // by the process, before the file
}

// read reads a file. opened is false if the reader found an error in it.
func (w *watchdog) read(k *kind, i int64, data []byte) (opened bool, err error) {
	w.mu.Lock()
	w.kind, w.i, w.data, w.began, w.used = k, i, data, time.Now(), processorTime()
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.began = time.Time{}
		w.mu.Unlock()
	}()
	before := allocated()
	opened, err = try(k, data)
	most := memoryFactor*int64(len(data)) + memorySlack
	if err != nil || allocated()-before <= most {
		return opened, err
	}
	// What it allocates in all is more. Is it also at one time?
	if peak := peak(func() { _, _ = try(k, data) }); peak > most {
		return opened, fmt.Errorf("takes %d MiB of memory, want at most %d", peak>>20, most>>20)
	}
	return opened, nil
}

// try reads a file and makes an error of a panic.
func try(k *kind, data []byte) (opened bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	err = k.read(data)
	if err == errNotFinite {
		return true, err
	}
	return err == nil, nil
}

// allocated returns the bytes that were allocated so far.
func allocated() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// peak returns the most bytes by which the heap grows while f runs.
func peak(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	before, most := stats.HeapAlloc, uint64(0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		runtime.ReadMemStats(&stats)
		most = max(most, stats.HeapAlloc)
		select {
		case <-done:
			return int64(most) - int64(before)
		case <-time.After(time.Millisecond):
		}
	}
}

// watch ends the process with the stacks of its goroutines.
func (w *watchdog) watch() {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for range time.Tick(20 * time.Millisecond) {
		metrics.Read(s)
		memory := s[0].Value.Uint64() - s[1].Value.Uint64()
		w.mu.Lock()
		late := !w.began.IsZero() && (processorTime()-w.used > w.Limit || time.Since(w.began) > waits*w.Limit)
		if late || memory > memoryEnd {
			stacks := make([]byte, 1<<16)
			fmt.Fprintf(os.Stderr, "%s: file %d, of %d bytes, takes over %v or %d MiB, which the process has: it is in %s\n%s\n", w.kind.name, w.i, len(w.data),
				w.Limit, memory>>20, w.keep(w.kind.name, w.i, w.data), stacks[:runtime.Stack(stacks, true)])
			os.Exit(3)
		}
		w.mu.Unlock()
	}
}
