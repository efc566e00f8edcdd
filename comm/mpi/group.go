//go:build mpi && (linux || darwin || freebsd)

package mpi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"github.com/verydeep/vgg/comm"
)

// group is a comm.Group over all ranks that the launcher started.
type group struct {
	library    *library
	rank, size int
	calls      chan func() // to the one thread
	scratch    scratch

	mu  sync.Mutex
	err error // why the group failed
}

// patience is how long a rank whose context has ended waits for the others to come to its call,
// before it ends the whole job: a collective call can't be given up.
const patience = 30 * time.Second

// Open returns this process's view of the group of all ranks that the launcher started. A
// process can have one. Without a launcher it is a group of one.
func Open(o Options) (comm.Group, error) {
	g := &group{calls: make(chan func())}
	opened := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread that initialises MPI makes all calls
		l, err := load(o)
		if err == nil {
			g.library = l
			g.rank, g.size, err = l.start()
		}
		opened <- err
		for f := range g.calls {
			f()
		}
	}()
	if err := <-opened; err != nil {
		close(g.calls)
		return nil, err
	}
	if n, ok := Launched(); ok && n != g.size {
		return nil, fmt.Errorf("mpi: the launcher started %d ranks, the library knows %d: its library is another one; name the file of the launcher's (VGG_MPI)", n, g.size)
	}
	return g, nil
}

// Close ends the use of MPI. All ranks must call it, after the last call of the group.
func Close(c comm.Group) error {
	g, ok := c.(*group)
	if !ok {
		return nil
	}
	done := make(chan error)
	g.calls <- func() { done <- g.library.call("MPI_Finalize") }
	defer close(g.calls)
	return <-done
}

func (g *group) Rank() int { return g.rank }
func (g *group) Size() int { return g.size }

// failure is why the group failed, nil if it hasn't.
func (g *group) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// fail keeps the first error.
func (g *group) fail(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
	return g.err
}

// Abort makes the group fail: this rank joins the others' next call and says why.
func (g *group) Abort(err error) {
	if g.failure() != nil {
		return
	}
	if _, named := errors.AsType[*comm.RankError](err); !named {
		err = &comm.RankError{Rank: g.rank, Err: err}
	}
	g.fail(err)
	c := call{kind: failed, n: int64(len(err.Error()))}
	if errors.Is(err, comm.ErrTemporary) {
		c.other = temporary
	}
	g.run(context.Background(), func() error {
		_, _, err := g.meet(c, err.Error())
		return err
	})
}

// reason is why another rank made the group fail, as that one says it.
type reason struct {
	text      string
	temporary bool
}

func (r *reason) Error() string        { return r.text }
func (r *reason) Is(target error) bool { return r.temporary && target == comm.ErrTemporary }

// run makes f on MPI's thread. If ctx ends while it waits for other ranks, it waits on, for a
// while, and then ends the whole job.
func (g *group) run(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	g.calls <- func() { done <- f() }
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		g.kill(fmt.Errorf("%w, and the other ranks don't come", context.Cause(ctx)))
		return context.Cause(ctx)
	}
}

// kill ends all processes.
func (g *group) kill(err error) {
	fmt.Fprintf(os.Stderr, "mpi: rank %d: %v\n", g.rank, err)
	g.library.call("MPI_Abort", g.library.world, 1) // it doesn't return
	os.Exit(1)
}

// together makes a call of all ranks: it checks that theirs is the same, then does it.
func (g *group) together(ctx context.Context, c call, do func() error) error {
	if err := g.failure(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		g.Abort(context.Cause(ctx))
		return g.failure()
	}
	err := g.run(ctx, func() error {
		calls, failure, err := g.meet(c, "")
		if err != nil {
			return err
		}
		if failure != nil {
			return failure
		}
		for rank, other := range calls {
			if other != calls[0] {
				return fmt.Errorf("comm: rank %d calls %v, rank 0 %v: want the same call of all ranks", rank, other, calls[0])
			}
		}
		return do()
	})
	if err != nil {
		return g.fail(err)
	}
	return nil
}

// kind is a method of the group.
type kind int64

const (
	failed kind = iota + 1
	barrier
	broadcast
	allReduce32
	allReduce64
	allReduceBF16
	allGather
)

// temporary is the other number of a failed call whose reason is comm.ErrTemporary.
const temporary = 1

// call is a rank's call, as the ranks compare them: the lengths of its arguments and the root
// or the leaves.
type call struct {
	kind     kind
	n, other int64
}

func (c call) String() string {
	switch c.kind {
	case barrier:
		return "Barrier"
	case broadcast:
		return fmt.Sprintf("Broadcast of %d from %d", c.n, c.other)
	case allReduce32, allReduce64, allReduceBF16:
		name := map[kind]string{allReduce32: "float32", allReduce64: "float64", allReduceBF16: "bfloat16"}[c.kind]
		return fmt.Sprintf("AllReduce of %d %s over %d leaves", c.n, name, c.other)
	case allGather:
		return fmt.Sprintf("AllGather of %d, cut at bounds of sum %x", c.n, uint64(c.other))
	}
	return "Abort"
}

// meet tells every rank's call to all. If a rank's group has failed, it returns that rank's
// reason, of which text is this rank's.
func (g *group) meet(c call, text string) (calls []call, failure *reason, err error) {
	if g.size == 1 {
		if c.kind == failed {
			failure = &reason{text, c.other == temporary}
		}
		return []call{c}, failure, nil
	}
	calls = make([]call, g.size)
	mine := []call{c}
	const size = unsafe.Sizeof(call{})
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&mine[0])
	pin.Pin(&calls[0])
	l := g.library
	if err := l.together("MPI_Iallgather", address(mine), size, l.byte, address(calls), size, l.byte, l.world); err != nil {
		return nil, nil, err
	}
	for rank, other := range calls {
		if other.kind != failed {
			continue
		}
		said := make([]byte, other.n)
		if rank == g.rank {
			copy(said, text)
		}
		if len(said) == 0 {
			said = []byte(fmt.Sprintf("comm: rank %d failed", rank))
			return calls, &reason{string(said), other.other == temporary}, nil
		}
		pin.Pin(&said[0])
		if err := l.together("MPI_Ibcast", address(said), uintptr(len(said)), l.byte, uintptr(rank), l.world); err != nil {
			return nil, nil, err
		}
		return calls, &reason{string(said), other.other == temporary}, nil
	}
	return calls, nil, nil
}

// address is the address of the first element; the caller pins it.
func address[T any](s []T) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(s))) }

func (g *group) Barrier(ctx context.Context) error {
	return g.together(ctx, call{kind: barrier}, func() error { return nil }) // comparing the calls waits for all
}

// most is the most elements of a message: MPI counts in 32 bits.
const most = 1 << 28

func (g *group) Broadcast(ctx context.Context, root int, data []float32) error {
	if root < 0 || root >= g.size {
		g.Abort(fmt.Errorf("broadcast from rank %d, want 0 … %d", root, g.size-1))
		return g.failure()
	}
	return g.together(ctx, call{broadcast, int64(len(data)), int64(root)}, func() error {
		for at := 0; at < len(data) && g.size > 1; at += most {
			part := data[at:min(at+most, len(data))]
			var pin runtime.Pinner
			pin.Pin(&part[0])
			err := g.library.together("MPI_Ibcast", address(part), uintptr(len(part)), g.library.float, uintptr(root), g.library.world)
			pin.Unpin()
			if err != nil {
				return err
			}
		}
		return nil
	})
}
