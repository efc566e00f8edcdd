//go:build mpi && (linux || darwin || freebsd)

package mpi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/comm/launch"
)

// group is a comm.Group over all ranks that the launcher started.
type group struct {
	library    *library
	rank, size int
	calls      chan func() // to the one thread
	scratch    scratch
	patience   patience

	mu  sync.Mutex
	err error // why the group failed
}

// patience is how long a rank waits for the others to come to its call, before it ends the whole
// job: a collective call can't be given up.
type patience struct {
	ended   time.Duration // after its context has ended
	aborted time.Duration // to tell them why it can't go on; they may have long to compute
	abort   time.Duration // for MPI_Abort, after which the process ends by itself
}

var defaultPatience = patience{ended: 30 * time.Second, aborted: 10 * time.Minute, abort: 10 * time.Second}

// Open returns this process's view of the group of all ranks that the launcher started. A
// process can have one. Without a launcher it is a group of one.
func Open(o Options) (comm.Group, error) {
	g := &group{calls: make(chan func()), patience: defaultPatience}
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
		return nil, apart(n, g.size)
	}
	return g, nil
}

// apart is the error of processes that a launcher started together, and that the library takes
// for fewer.
func apart(launched, known int) error {
	want := "its library is another one; name the file of the launcher's (VGG_MPI)"
	if p, _ := launch.Found(); p.By == launch.Srun {
		want = "srun must be told how the library joins its ranks: --mpi=pmix for Open MPI, --mpi=pmi2 for MPICH (srun --mpi=list shows what there is); or the library is of another kind, and VGG_MPI names the right one's file"
	}
	return fmt.Errorf("mpi: the launcher started %d ranks, the library knows %d: %s", launched, known, want)
}

// Close ends the use of MPI. All ranks must call it, after the last call of the group, and end
// their processes by [Exit].
func Close(c comm.Group) error {
	g, ok := c.(*group)
	if !ok {
		return nil
	}
	done := make(chan error)
	g.calls <- func() { done <- g.library.call("MPI_Finalize") }
	defer close(g.calls)
	err := <-done
	if err == nil {
		closed.Store(g.library)
	}
	return err
}

// closed is the library whose use has ended.
var closed atomic.Pointer[library]

// Exit ends the process as [os.Exit] does, and, after [Close], with what libraries have left for
// the exit of a program in C, which [os.Exit] leaves out. MPICH 5 tells its launcher only there
// that a rank has ended well; without it mpiexec kills the ranks that still run and ends with 9.
func Exit(code int) {
	if l := closed.Load(); l != nil && l.exit != 0 {
		purego.SyscallN(l.exit, uintptr(code))
	}
	os.Exit(code)
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

// Abort makes the group fail: this rank joins the others' next call and says why. Of several
// ranks that do so at once, all have the error of the lowest. If the others don't come, it ends
// the job.
func (g *group) Abort(err error) {
	if _, named := errors.AsType[*comm.RankError](err); !named {
		err = &comm.RankError{Rank: g.rank, Err: err}
	}
	c := call{kind: failed, n: int64(len(err.Error()))}
	if errors.Is(err, comm.ErrTemporary) {
		c.other = temporary
	}
	g.run(context.Background(), err, func() error {
		if g.failure() != nil {
			return nil
		}
		_, failure, meetErr := g.meet(c, err.Error())
		if meetErr == nil && failure.text != err.Error() {
			return g.fail(failure)
		}
		return g.fail(err)
	})
}

// reason is why another rank made the group fail, as that one says it.
type reason struct {
	text      string
	temporary bool
}

func (r *reason) Error() string        { return r.text }
func (r *reason) Is(target error) bool { return r.temporary && target == comm.ErrTemporary }

// run makes f on MPI's thread. If ctx ends, or the rank has an error already, it waits for the
// other ranks a while, and then ends the whole job.
func (g *group) run(ctx context.Context, err error, f func() error) error {
	done := make(chan error, 1)
	calls, ended := g.calls, ctx.Done()
	var late <-chan time.Time
	if err != nil {
		late = time.After(g.patience.aborted)
	}
	for {
		select {
		case calls <- func() { done <- f() }:
			calls = nil
		case err := <-done:
			return err
		case <-ended:
			err, ended = context.Cause(ctx), nil
			late = time.After(g.patience.ended)
		case <-late:
			g.kill(fmt.Errorf("%w; the other ranks don't come to hear it, so the job ends", err))
		}
	}
}

// kill ends all processes. MPI_Abort is for the thread that makes all calls, which waits for the
// others in [library.together]. Where it waits in a call of the library's, this process ends
// alone; launchers then end the job, srun if it was given --kill-on-bad-exit.
func (g *group) kill(err error) {
	fmt.Fprintf(os.Stderr, "mpi: rank %d: %v\n", g.rank, err)
	g.library.ended.Store(true)
	time.Sleep(g.patience.abort)
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
	return g.run(ctx, nil, func() error {
		if err := g.failure(); err != nil { // of an Abort beside this
			return err
		}
		calls, failure, err := g.meet(c, "")
		if err != nil {
			return g.fail(err)
		}
		if failure != nil {
			return g.fail(failure)
		}
		for rank, other := range calls {
			if other != calls[0] {
				return g.fail(fmt.Errorf("comm: rank %d calls %v, rank 0 %v: want the same call of all ranks", rank, other, calls[0]))
			}
		}
		if err := do(); err != nil {
			return g.fail(err)
		}
		return nil
	})
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
