package kernel

import (
	"sync"
	"sync/atomic"
)

// Task is work in independent parts. Part does part i; slot says which of the
// team's threads does it, for scratch memory. The result of a part must not depend
// on slot.
type Task interface {
	Part(slot, i int)
}

// Team splits the parts of a task over threads. The caller takes a share of the
// work, so a team of one starts no goroutine. Any number of goroutines may use one
// team at once.
type Team struct {
	threads int
	jobs    sync.Pool
}

// NewTeam returns a team of the given number of threads, at least one.
func NewTeam(threads int) *Team {
	return &Team{threads: max(1, threads)}
}

// Threads is the most parts of one task that run at a time.
func (t *Team) Threads() int { return t.threads }

type job struct {
	task  Task
	n     int
	next  atomic.Int64
	slots atomic.Int64
	done  sync.WaitGroup
	help  func() // made once, so that starting a helper allocates nothing
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
		j.help = func() { j.work(); j.done.Done() }
	}
	j.task, j.n = task, n
	j.next.Store(0)
	j.slots.Store(0)
	j.done.Add(helpers)
	for range helpers {
		go j.help()
	}
	j.work()
	j.done.Wait()
	j.task = nil
	t.jobs.Put(j)
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
