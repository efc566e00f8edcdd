//go:build (linux || darwin || freebsd) && (amd64 || arm64)

package accel

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest/oracle"
	"github.com/verydeep/vgg/nn"
)

// Places of functions in the C API's table.
const (
	errorDestroy = 0
	errorMessage = 1
	errorGetCode = 2
	eventDestroy = 5
	eventAwait   = 8
	upload       = 22
	execute      = 55
	download     = 70
)

// watched counts calls of a device's plugin, and makes them fail.
type watched struct {
	calls map[int]*atomic.Int64
	fails map[int]*atomic.Pointer[fault]
	errs  atomic.Int64 // errors that weren't freed
}

// fault is an error that the calls of a function return after some more.
type fault struct {
	after atomic.Int64
	code  pjrt.Code
}

// made is the handle of errors that are made here; what it points to has the code.
var made [1]pjrt.Code

// watch replaces the functions of a device's plugin by ones that are counted.
func watch(d *Device) *watched {
	w := &watched{calls: map[int]*atomic.Int64{}, fails: map[int]*atomic.Pointer[fault]{}}
	plugin := *d.client.Plugin
	field := reflect.ValueOf(&plugin).Elem().FieldByName("functions")
	functions := (*[]uintptr)(unsafe.Pointer(field.UnsafeAddr()))
	*functions = slices.Clone(*functions)
	handle := uintptr(unsafe.Pointer(&made))
	replace := func(f int, call func(arguments *[8]uintptr, next func() uintptr) uintptr) {
		original := (*functions)[f]
		(*functions)[f] = purego.NewCallback(func(arguments *[8]uintptr) uintptr {
			return call(arguments, func() uintptr {
				r, _, _ := purego.SyscallN(original, uintptr(unsafe.Pointer(arguments)))
				return r
			})
		})
	}
	text := []byte("the driver is gone\x00")
	// Their structs are: size, extension, the error, and what is returned.
	replace(errorMessage, func(a *[8]uintptr, next func() uintptr) uintptr {
		if a[2] != handle {
			return next()
		}
		a[3], a[4] = uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)-1)
		return 0
	})
	replace(errorGetCode, func(a *[8]uintptr, next func() uintptr) uintptr {
		if a[2] != handle {
			return next()
		}
		a[3] = uintptr(made[0])
		return 0
	})
	replace(errorDestroy, func(a *[8]uintptr, next func() uintptr) uintptr {
		w.errs.Add(-1)
		if a[2] != handle {
			return next()
		}
		return 0
	})
	for _, f := range []int{eventDestroy, eventAwait, upload, execute, download} {
		n, fails := new(atomic.Int64), new(atomic.Pointer[fault])
		w.calls[f], w.fails[f] = n, fails
		replace(f, func(_ *[8]uintptr, next func() uintptr) uintptr {
			n.Add(1)
			if e := fails.Load(); e != nil && e.after.Add(-1) < 0 {
				if f == eventAwait {
					next() // what it waits for comes all the same
				} else {
					n.Add(-1) // nothing is made
				}
				made[0] = e.code
				w.errs.Add(1)
				return handle
			}
			r := next()
			if r != 0 {
				w.errs.Add(1)
			}
			return r
		})
	}
	d.client.Plugin = &plugin
	return w
}

// fail makes the calls of a function fail after some more.
func (w *watched) fail(function int, code pjrt.Code, after int64) {
	e := &fault{code: code}
	e.after.Store(after)
	w.fails[function].Store(e)
}

// heal ends the faults.
func (w *watched) heal() {
	for _, f := range w.fails {
		f.Store(nil)
	}
}

// events is the number of events that were made and not freed, of programs on one device.
func (w *watched) events() int64 {
	return w.calls[upload].Load() + w.calls[execute].Load() + w.calls[download].Load() - w.calls[eventDestroy].Load()
}

// TestStepFaults lets each of the calls of a step fail in turn. The error says what to do, and
// nothing is left of the step.
func TestStepFaults(t *testing.T) {
	d := testDevice(t, Options{})
	w := watch(d)
	tr := newTrainer(t, d, smallChain(t, false), nn.TrainerOptions{Batch: 12, Groups: 2, Ranks: 1, Micro: 2, H: 8, W: 8})
	b := nn.TrainerBatch{X: oracle.Images(t, "12x3x8x8", 0), Labels: make([]int, 12)}
	if _, err := tr.Step(t.Context(), b, paperUpdate); err != nil {
		t.Fatal(err)
	}
	live, failed := d.client.Live(), 0
	for name, function := range map[string]int{"upload": upload, "execute": execute, "await": eventAwait, "download": download} {
		for after := range int64(200) {
			w.fail(function, pjrt.Unavailable, after)
			_, err := tr.Step(t.Context(), b, paperUpdate)
			w.heal()
			if n := w.events(); n != 0 {
				t.Fatalf("%s after %d calls: %d events aren't freed", name, after, n)
			}
			if n := w.errs.Load(); n != 0 {
				t.Fatalf("%s after %d calls: %d errors aren't freed", name, after, n)
			}
			if err == nil { // a step has no more calls
				if after == 0 {
					t.Errorf("%s: no call", name)
				}
				break
			}
			failed++
			if !errors.Is(err, nn.ErrDevice) || !errors.Is(err, pjrt.Unavailable) || !strings.HasPrefix(err.Error(), "accel: ") || strings.Count(err.Error(), "--resume") != 1 {
				t.Errorf("%s after %d calls: %v", name, after, err)
			}
			if tr.err != nil { // the update had begun: weights are what it left
				if _, again := tr.Step(t.Context(), b, paperUpdate); again != tr.err {
					t.Errorf("%s after %d calls: a step after it: %v", name, after, again)
				}
				if fetched := tr.Fetch(nn.NewSGD(tr.chain).Momentum); fetched != tr.err {
					t.Errorf("%s after %d calls: weights after it: %v", name, after, fetched)
				}
				if err := tr.Send(nil); err != nil {
					t.Fatal(err)
				}
			}
			if n := d.client.Live(); n != live {
				t.Fatalf("%s after %d calls: %d buffers and programs, want %d", name, after, n, live)
			}
		}
	}
	if failed < 40 {
		t.Errorf("%d failures", failed)
	}
	w.fail(upload, pjrt.ResourceExhausted, 0)
	_, err := tr.Step(t.Context(), b, paperUpdate)
	w.heal()
	if !errors.Is(err, pjrt.ResourceExhausted) || errors.Is(err, nn.ErrDevice) || !strings.Contains(err.Error(), "a smaller batch") {
		t.Errorf("out of memory: %v", err)
	}
	w.fail(upload, pjrt.Unavailable, 0)
	err = tr.Send(nil)
	w.heal()
	if !errors.Is(err, nn.ErrDevice) || !strings.Contains(err.Error(), "conv.weight") {
		t.Errorf("sending to a lost device: %v", err)
	}
}

// TestStoppedStepFaults: an error of the device is told though the context is done.
func TestStoppedStepFaults(t *testing.T) {
	d := testDevice(t, Options{})
	w := watch(d)
	tr := newTrainer(t, d, smallChain(t, false), nn.TrainerOptions{Batch: 12, Groups: 1, Ranks: 1, Micro: 2, H: 8, W: 8})
	b := nn.TrainerBatch{X: oracle.Images(t, "12x3x8x8", 0), Labels: make([]int, 12)}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.Step(done, b, paperUpdate); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	w.fail(execute, pjrt.Internal, 0)
	if _, err := tr.Step(done, b, paperUpdate); !errors.Is(err, nn.ErrDevice) {
		t.Errorf("error %v, want the device's", err)
	}
	w.heal()
	if n := w.events(); n != 0 {
		t.Errorf("%d events aren't freed", n)
	}
}

// TestRunnerFaults lets each of the calls of a pass fail in turn.
func TestRunnerFaults(t *testing.T) {
	d := testDevice(t, Options{})
	w := watch(d)
	c, r := smallChain(t, false), d.Runner()
	defer r.Close()
	c.SetRunner(r)
	x := oracle.Images(t, "3x3x8x8", 0)
	for name, function := range map[string]int{"upload": upload, "execute": execute, "await": eventAwait, "download": download} {
		for after := range int64(30) {
			w.fail(function, pjrt.Internal, after)
			_, err := c.Forward(x)
			w.heal()
			if w.events() != 0 || w.errs.Load() != 0 {
				t.Fatalf("%s after %d calls: %d events and %d errors aren't freed", name, after, w.events(), w.errs.Load())
			}
			if err == nil {
				if after == 0 {
					t.Errorf("%s: no call", name)
				}
				break
			}
			if !errors.Is(err, nn.ErrDevice) || strings.Count(err.Error(), "can't use it any more") != 1 {
				t.Errorf("%s after %d calls: %v", name, after, err)
			}
		}
	}
}

// TestManyCalls: after hundreds of steps and passes nothing is left of them on the device.
func TestManyCalls(t *testing.T) {
	d := testDevice(t, Options{})
	w := watch(d)
	c := smallChain(t, true)
	tr := newTrainer(t, d, c, nn.TrainerOptions{Batch: 12, Groups: 2, Ranks: 1, H: 8, W: 8})
	r := d.Runner()
	defer r.Close()
	c.SetRunner(r)
	sgd := nn.NewSGD(c)
	b := nn.TrainerBatch{X: oracle.Images(t, "12x3x8x8", 0), Labels: make([]int, 12)}
	live := 0
	for i := range mostPrograms + 20 { // of which each makes a program of its own
		b.Iteration = i + 1
		tr.Ahead(b)
		if _, err := tr.Step(t.Context(), b, paperUpdate); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			if err := tr.Fetch(sgd.Momentum); err != nil { // weights that the runner has to send
				t.Fatal(err)
			}
		}
		until, err := c.Until("conv", false) // a chain, and a layer, of a single request
		if err != nil {
			t.Fatal(err)
		}
		for _, chain := range []*nn.Chain{c, until} {
			if _, err := chain.Forward(b.X); err != nil {
				t.Fatal(err)
			}
		}
		if w.events() != 0 || w.errs.Load() != 0 {
			t.Fatalf("call %d: %d events and %d errors aren't freed", i, w.events(), w.errs.Load())
		}
		if n := d.client.Live(); i == 0 {
			live = n
		} else if n != live {
			t.Fatalf("call %d: %d buffers and programs, want %d", i, n, live)
		}
	}
	if n := len(r.programs.all); n != mostPrograms || r.programs.used.Len() != n {
		t.Errorf("the runner remembers %d programs, want %d", n, mostPrograms)
	}
}

// TestRunnerAtOnce: goroutines that use a runner at once, also when weights have changed, get what
// one alone gets.
func TestRunnerAtOnce(t *testing.T) {
	d := testDevice(t, Options{})
	c, r := smallChain(t, false), d.Runner()
	defer r.Close()
	c.SetRunner(r)
	front, err := c.Until("conv", true)
	if err != nil {
		t.Fatal(err)
	}
	sizes := []string{"1x3x8x8", "3x3x8x8", "4x3x8x8"}
	for round := range 5 {
		p := c.Params()[0]
		v := make([]float32, p.Len())
		for i := range v {
			v[i] = float32((i+round)%5) / 8
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
		fresh := d.Runner()
		want := map[*nn.Chain][][]float32{}
		for _, chain := range []*nn.Chain{c, front} {
			alone := chain.Share(1)
			alone.SetRunner(fresh)
			for i, size := range sizes {
				y, err := alone.Forward(oracle.Images(t, size, i))
				if err != nil {
					t.Fatal(err)
				}
				want[chain] = append(want[chain], y.Data)
			}
		}
		if err := fresh.Close(); err != nil {
			t.Error(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			for i, size := range sizes {
				for _, chain := range []*nn.Chain{c, front} {
					x := oracle.Images(t, size, i)
					wg.Go(func() {
						y, err := chain.Forward(x)
						if err != nil || !slices.Equal(y.Data, want[chain][i]) {
							t.Errorf("round %d, %s: other results than alone, %v", round, size, err)
						}
					})
				}
			}
		}
		wg.Wait()
	}
}
