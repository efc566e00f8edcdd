package kernel

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Task is work in independent parts. Part does part i; slot is the number of the thread
// that does it, by which a task finds the thread's scratch memory. The result of a part
// must not depend on slot. Parts run with denormal numbers flushed to zero (see flushing).
type Task interface {
	Part(slot, i int)
}

// Team splits the parts of a task over threads. The caller takes a share of the
// work, so a team of one starts no goroutine. Any number of goroutines may use one
// team at once; they share its helpers.
//
// Part i of n always belongs to the same thread's share, so that the core that writes a
// layer's output also reads it in the next layer. Where cores don't share a cache, a line
// that another core wrote is slower than memory. A thread that has done its share takes
// the last parts of the others.
//
// Layer calls follow one another within microseconds, less than it takes to wake a
// sleeping thread. So an idle helper polls for the next call for a moment before it ends,
// and yields to any goroutine that wants to run.
type Team struct {
	threads int
	jobs    sync.Pool
	helpers []helper // threads − 1
}

// helper is a goroutine and its mailbox. The box is nil while the helper looks for work,
// absent while there is no goroutine, else it holds the job that the helper works on.
type helper struct {
	box  atomic.Pointer[job]
	slot int
	run  func() // made once, so that starting the goroutine allocates nothing
	_    [40]byte
}

// absent marks the mailbox of a helper whose goroutine has ended.
var absent = new(job)

// lookout is how long a helper polls for work before it ends, and how long a caller polls
// for the end of its helpers' work before it sleeps.
const lookout = 500 * time.Microsecond

// NewTeam returns a team of the given number of threads, at least one.
func NewTeam(threads int) *Team {
	t := &Team{threads: max(1, threads)}
	t.helpers = make([]helper, t.threads-1)
	for i := range t.helpers {
		h := &t.helpers[i]
		h.box.Store(absent)
		h.slot = i + 1
		h.run = h.loop
	}
	return t
}

// Threads is the number of threads: at most so many parts of one task run at a time.
func (t *Team) Threads() int { return t.threads }

type job struct {
	task    Task
	shares  []share      // of each slot
	pending atomic.Int64 // helpers at work
	done    sync.WaitGroup
}

// share is a range of parts that haven't begun: the upper half of parts is the first, the
// lower half the one after the last.
type share struct {
	parts atomic.Uint64
	_     [56]byte
}

// take takes the first part of the share, or the last.
func (s *share) take(last bool) (i int, ok bool) {
	for {
		parts := s.parts.Load()
		from, to := parts>>32, parts&math.MaxUint32
		if from >= to {
			return 0, false
		}
		rest := parts + 1<<32
		i = int(from)
		if last {
			rest = parts - 1
			i = int(to) - 1
		}
		if s.parts.CompareAndSwap(parts, rest) {
			return i, true
		}
	}
}

// Run does parts 0 … n−1 of task and returns when all are done.
func (t *Team) Run(n int, task Task) {
	helpers := min(t.threads, n) - 1
	if helpers <= 0 {
		defer beginFlushing().end()
		for i := range n {
			task.Part(0, i)
		}
		return
	}
	j, _ := t.jobs.Get().(*job)
	if j == nil {
		j = &job{shares: make([]share, t.threads)}
	}
	j.task = task
	for i := range j.shares {
		j.shares[i].parts.Store(uint64(n*i/t.threads)<<32 | uint64(n*(i+1)/t.threads))
	}
	for i := 0; i < len(t.helpers) && helpers > 0; i++ {
		if t.helpers[i].take(j) {
			helpers--
		}
	}
	j.work(0)
	lookFor(func() bool { return j.pending.Load() == 0 })
	j.done.Wait()
	j.task = nil
	t.jobs.Put(j)
}

// take gives j to the helper, unless the helper works on another job.
func (h *helper) take(j *job) bool {
	was := h.box.Load()
	if was != nil && was != absent {
		return false
	}
	j.pending.Add(1)
	j.done.Add(1)
	if !h.box.CompareAndSwap(was, j) {
		j.pending.Add(-1)
		j.done.Done()
		return false
	}
	if was == absent {
		go h.run()
	}
	return true
}

// loop works on the jobs that come into the mailbox, at least on one.
func (h *helper) loop() {
	for {
		j := h.box.Load()
		j.work(h.slot)
		h.box.Store(nil)
		j.pending.Add(-1)
		j.done.Done()
		lookFor(func() bool { return h.box.Load() != nil })
		if h.box.CompareAndSwap(nil, absent) {
			return
		}
	}
}

// lookFor returns when found does, or after the lookout.
func lookFor(found func() bool) {
	if found() {
		return
	}
	for start := time.Now(); time.Since(start) < lookout; {
		for range 20 {
			if found() {
				return
			}
		}
		runtime.Gosched()
	}
}

// work does parts until none is left.
func (j *job) work(slot int) {
	defer beginFlushing().end()
	for turn := range j.shares {
		s := &j.shares[(slot+turn)%len(j.shares)]
		for {
			i, ok := s.take(turn > 0)
			if !ok {
				break
			}
			j.task.Part(slot, i)
		}
	}
}
