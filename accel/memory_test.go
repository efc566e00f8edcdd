package accel

import (
	"errors"
	"strings"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/oracle"
	"github.com/verydeep/vgg/nn"
)

// memoryOf is the bytes that a step of a trainer's micro-batches takes, of each device.
func memoryOf(t *testing.T, tr *Trainer) int64 {
	t.Helper()
	e, err := tr.program(tr.plan.loss, func() (pjrt.Program, error) { return tr.plan.gradientProgram(tr.plan.loss) })
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.Memory()
	if err != nil {
		vggtest.Skip(t, "a plugin that tells what programs take")
	}
	return m.Total() + tr.plan.footprint(tr.o).work(tr.plan.loss, tr.o).held
}

// TestMemoryChoosesMicroBatches: a bound, and a device, of one byte less than micro-batches take
// halve them. The sums are the same but for rounding.
func TestMemoryChoosesMicroBatches(t *testing.T) {
	d := testDevice(t, Options{})
	o := nn.TrainerOptions{Batch: 12, Groups: 1, Ranks: 1, H: 8, W: 8}
	tr := newTrainer(t, d, smallChain(t, false), o)
	if tr.Micro() != 12 {
		t.Fatalf("micro-batches of %d images without a bound", tr.Micro())
	}
	need := memoryOf(t, tr)
	held := d.holds.Load() // by tr
	micro := func(bound, limit int64) int {
		t.Helper()
		d.limit = limit
		defer func() { d.limit = 0 }()
		bounded := o
		bounded.Memory = bound
		other, err := d.NewTrainer(smallChain(t, false), bounded)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		return other.Micro()
	}
	for _, test := range []struct {
		bound, limit int64
		want         int
	}{{need, 0, 12}, {need - 1, 0, 6}, {0, held + need, 12}, {0, held + need - 1, 6}, {need - 1, held + need, 6}, {need, held + need - 1, 6}} {
		if got := micro(test.bound, test.limit); got != test.want {
			t.Errorf("a bound of %d bytes on a device of %d: micro-batches of %d images, want %d", test.bound, test.limit, got, test.want)
		}
	}
	if got := d.holds.Load(); got != held {
		t.Errorf("%d bytes are held by trainers, want %d", got, held)
	}
	_, whole := steps(t, d, smallChain(t, false), o, paperUpdate, nil)
	o.Memory = need - 1
	_, halves := steps(t, d, smallChain(t, false), o, paperUpdate, nil)
	vggtest.Near(t, "weights and momenta", halves, whole)

	o.Memory = 1
	_, err := d.NewTrainer(smallChain(t, false), o)
	large, ok := errors.AsType[*TooLargeError](err)
	if !ok || !large.Bound || large.Images != 1 || !strings.Contains(err.Error(), "at most 0 MiB may be taken (--memory): it is of one image already") {
		t.Errorf("a bound of a byte: %v", err)
	}
}

// TestMemoryBeforeTheRun: sums of several devices, and validation beside the momenta, are too
// large before the first step.
func TestMemoryBeforeTheRun(t *testing.T) {
	d := testDevice(t, Options{Count: 2})
	o := nn.TrainerOptions{Batch: 4, Groups: 2, Ranks: 2, H: 8, W: 8}
	c := smallChain(t, false)
	tr := newTrainer(t, d, c, o)
	e, err := tr.program(reduce, tr.reduceProgram)
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.Memory()
	if err != nil {
		vggtest.Skip(t, "a plugin that tells what programs take")
	}
	if err := d.fits(e, work{held: 10, most: m.Total() + 9}); err == nil || !strings.Contains(err.Error(), "accel: reduce: ") || !strings.Contains(err.Error(), "fewer devices") {
		t.Errorf("sums beside ten bytes in nine more: %v", err)
	}
	if err := d.fits(e, work{held: 10, most: m.Total() + 10}); err != nil {
		t.Error(err)
	}
	r := d.Runner()
	defer r.Close()
	if err := r.Prepare(c, 4, 8, 8); err != nil {
		t.Fatal(err)
	}
	in := inferenceInput{n: 4, h: 8, w: 8}
	p := r.programs.find(keyOf(c, in))
	if p == nil {
		t.Fatal("the program isn't there")
	}
	if m, err = p.program.Memory(); err != nil {
		t.Fatal(err)
	}
	prepare := func(limit int64) error {
		fresh := d.Runner()
		defer fresh.Close()
		d.limit = limit
		defer func() { d.limit = 0 }()
		return fresh.Prepare(c, 4, 8, 8)
	}
	held := d.holds.Load()
	if err := prepare(m.Total() + held); err != nil {
		t.Error(err)
	}
	err = prepare(m.Total() + held - 1)
	if large, ok := errors.AsType[*TooLargeError](err); !ok || large.Held != held || held == 0 || !strings.Contains(err.Error(), "a smaller batch") {
		t.Errorf("beside %d bytes: %v", held, err)
	}
}

// TestTooLargeAdvice: what an error tells to do about it.
func TestTooLargeAdvice(t *testing.T) {
	for _, test := range []struct {
		e    TooLargeError
		want string
	}{
		{TooLargeError{Program: "gradients", Need: 3<<20 + 1, Have: 3<<20 - 1, Bound: true, Images: 8},
			"accel: gradients: 4 MiB of each device's memory are needed, and at most 2 MiB may be taken (--memory): a smaller batch takes less. Or give more"},
		{TooLargeError{Program: "inference", Need: 9 << 20, Have: 5 << 20, Held: 3 << 20, Images: 1},
			"accel: inference: 9 MiB of each device's memory are needed, and programs can have 8 MiB, of which other networks of this process hold 3 MiB: it is of one image already; a smaller scale or input, or a smaller network (--width) takes less, and so may --precision bf16. Or use a device with more memory"},
		{TooLargeError{Program: "inference", Need: 9 << 20, Have: 5 << 20, Images: 1, precision: BF16},
			"accel: inference: 9 MiB of each device's memory are needed, and programs can have 5 MiB: it is of one image already; a smaller scale or input, or a smaller network (--width) takes less. Or use a device with more memory"},
	} {
		if got := test.e.Error(); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

// TestHostLossPrograms: of losses that the CPU computes no other program is compiled, and both of
// theirs are before the first step.
func TestHostLossPrograms(t *testing.T) {
	d := testDevice(t, Options{})
	squared := func(_ int, scores, dy []float32, scale float32) float64 {
		return nn.SquaredLoss(scores, []float32{1, 2, 0, 0.5}, scale, dy)
	}
	o := nn.TrainerOptions{Batch: 12, Groups: 1, Ranks: 1, HostLoss: true}
	o.H, o.W = 8, 8
	tr := newTrainer(t, d, smallChain(t, false), o)
	programs := len(d.programs)
	_, values := steps(t, d, smallChain(t, false), o, paperUpdate, func(b *nn.TrainerBatch) { b.Loss = squared })
	if n := len(d.programs); n != programs+1 {
		t.Errorf("steps compiled %d programs, want the update alone", n-programs)
	}
	o.HostLoss = false
	_, want := steps(t, d, smallChain(t, false), o, paperUpdate, func(b *nn.TrainerBatch) { b.Loss = squared })
	if err := vggtest.SameBits(values, want); err != nil {
		t.Error(err)
	}
	if err := tr.check(nn.TrainerBatch{X: oracle.Images(t, "12x3x8x8", 0), Labels: make([]int, 12)}); err == nil || !strings.Contains(err.Error(), "HostLoss") {
		t.Errorf("a batch without its loss: %v", err)
	}
}
