package kernel

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// countTask counts how often each part is done and whether two parts ever share a slot.
type countTask struct {
	parts  []atomic.Int32
	busy   []atomic.Int32 // by slot
	shared atomic.Bool
	inside func(i int)
}

func newCount(threads, n int) *countTask {
	return &countTask{parts: make([]atomic.Int32, n), busy: make([]atomic.Int32, threads)}
}

func (c *countTask) Part(slot, i int) {
	if c.busy[slot].Add(1) != 1 {
		c.shared.Store(true)
	}
	if c.inside != nil {
		c.inside(i)
	}
	c.parts[i].Add(1)
	c.busy[slot].Add(-1)
}

func (c *countTask) check() error {
	for i := range c.parts {
		if n := c.parts[i].Load(); n != 1 {
			return fmt.Errorf("part %d of %d was done %d times", i, len(c.parts), n)
		}
	}
	if c.shared.Load() {
		return fmt.Errorf("two parts ran in one slot at a time")
	}
	return nil
}

func TestTeamRunsEveryPartOnce(t *testing.T) {
	for threads := 1; threads <= 8; threads++ {
		team := NewTeam(threads)
		if team.Threads() != threads {
			t.Fatalf("Threads() = %d, want %d", team.Threads(), threads)
		}
		for _, n := range []int{0, 1, 2, 3, 7, 8, 9, 1000} {
			for range 20 {
				c := newCount(threads, n)
				team.Run(n, c)
				if err := c.check(); err != nil {
					t.Fatalf("%d threads: %v", threads, err)
				}
			}
		}
	}
}

func TestTeamHasOneThreadAtLeast(t *testing.T) {
	for _, n := range []int{0, -3} {
		if got := NewTeam(n).Threads(); got != 1 {
			t.Errorf("NewTeam(%d) has %d threads, want 1", n, got)
		}
	}
}

// TestTeamUsesItsThreads: parts that wait for each other need a thread each.
func TestTeamUsesItsThreads(t *testing.T) {
	const threads = 4
	var met sync.WaitGroup
	met.Add(threads)
	c := newCount(threads, threads)
	c.inside = func(int) { met.Done(); met.Wait() }
	NewTeam(threads).Run(threads, c)
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
}

func TestTeamNested(t *testing.T) {
	for threads := 1; threads <= 8; threads++ {
		team := NewTeam(threads)
		inner := make([]*countTask, 12)
		outer := newCount(threads, len(inner))
		outer.inside = func(i int) {
			inner[i] = newCount(threads, 30+i)
			team.Run(30+i, inner[i])
			if err := inner[i].check(); err != nil { // all done when Run returns
				t.Errorf("%d threads: inside part %d: %v", threads, i, err)
			}
		}
		team.Run(len(inner), outer)
		if err := outer.check(); err != nil {
			t.Errorf("%d threads: %v", threads, err)
		}
	}
}

func TestTeamConcurrent(t *testing.T) {
	team := NewTeam(3)
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for round := range 50 {
				c := newCount(3, caller+round)
				team.Run(caller+round, c)
				if err := c.check(); err != nil {
					t.Errorf("caller %d: %v", caller, err)
				}
			}
		})
	}
	callers.Wait()
}
