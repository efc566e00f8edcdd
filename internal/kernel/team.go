package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Task is work in independent parts. Part does part i; slot says which of the
// team's threads does it, for scratch memory. The result of a part must not depend
// on slot.
type Task interface {
	Part(slot, i int)
}

// Team splits the parts of a task over threads. The caller takes a share of the
// work, so a team of one starts no goroutine. Any number of goroutines may use one
// team at once; they share its helpers.
//
// Layer calls follow one another within microseconds, less than it takes to wake a
// sleeping thread: a helper that has nothing to do looks out for the next call for a
// moment before it ends. It yields to any goroutine that wants to run.
type Team struct {
	threads int
	jobs    sync.Pool
	helpers []helper // threads − 1
}

// helper is a goroutine's mailbox: nil while the helper looks for work, absent while
// there is no goroutine, else the job it works on.
type helper struct {
	box atomic.Pointer[job]
	run func() // made once, so that starting the goroutine allocates nothing
	_   [48]byte
}

// absent marks the mailbox of a helper whose goroutine has ended.
var absent = new(job)

// lookout is how long a helper looks for work before it ends, and a caller for the end
// of its helpers' before it sleeps.
const lookout = 60 * time.Microsecond

// NewTeam returns a team of the given number of threads, at least one.
func NewTeam(threads int) *Team {
	t := &Team{threads: max(1, threads)}
	t.helpers = make([]helper, t.threads-1)
	for i := range t.helpers {
		h := &t.helpers[i]
		h.box.Store(absent)
		h.run = h.loop
	}
	return t
}

// Threads is the most parts of one task that run at a time.
func (t *Team) Threads() int { return t.threads }

type job struct {
	task    Task
	n       int
	next    atomic.Int64
	slots   atomic.Int64
	pending atomic.Int64 // helpers at work
	done    sync.WaitGroup
}

// Run does parts 0 … n−1 of task and returns when all are done.
func (t *Team) Run(n int, task Task) {
	helpers := min(t.threads, n) - 1
	if helpers <= 0 {
		for i := range n {
			task.Part(0, i)
		}
		return
	}
	j, _ := t.jobs.Get().(*job)
	if j == nil {
		j = new(job)
	}
	j.task, j.n = task, n
	j.next.Store(0)
	j.slots.Store(0)
	for i := 0; i < len(t.helpers) && helpers > 0; i++ {
		if t.helpers[i].take(j) {
			helpers--
		}
	}
	j.work()
	lookFor(func() bool { return j.pending.Load() == 0 })
	j.done.Wait()
	j.task = nil
	t.jobs.Put(j)
}

// take gives j to the helper unless it works for somebody else.
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

// loop works on the jobs that come into the mailbox, one at least.
func (h *helper) loop() {
	for {
		j := h.box.Load()
		j.work()
		h.box.Store(nil)
		j.pending.Add(-1)
		j.done.Done()
		lookFor(func() bool { return h.box.Load() != nil })
		if h.box.CompareAndSwap(nil, absent) {
			return
		}
	}
}

// lookFor returns when there is what it looks for, or after the lookout.
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

func (j *job) work() {
	slot := int(j.slots.Add(1)) - 1
	for {
		i := int(j.next.Add(1)) - 1
		if i >= j.n {
			return
		}
		j.task.Part(slot, i)
	}
}
