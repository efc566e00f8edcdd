package kernel

import (
	"math"
	"testing"
)

// TestMeasure: measurements of the machine are speeds.
func TestMeasure(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		if v := MeasureFLOPS(NewTeam(2)); !(v > 0) || math.IsInf(v, 0) {
			t.Errorf("%g operations a second", v)
		}
	})
	if testing.Short() {
		t.Skip("reads hundreds of megabytes")
	}
	if v := MeasureReadBytes(NewTeam(2)); !(v > 0) || math.IsInf(v, 0) {
		t.Errorf("%g bytes a second", v)
	}
}

// TestPeakTask: the measured product computes as many multiplications as are counted.
func TestPeakTask(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		task := newPeakTask(Current(), 1)
		task.times = 3
		for _, operand := range [][]float32{task.a[0], task.b[0]} {
			for i := range operand {
				operand[i] = 1
			}
		}
		task.Part(0, 0)
		var sum float64
		for _, v := range task.c[0] {
			sum += float64(v)
		}
		if sum != float64(task.multiplications()) {
			t.Errorf("the tile sums to %g, %d multiplications counted", sum, task.multiplications())
		}
	})
}

func TestReadTask(t *testing.T) {
	task := &readTask{isa: Current(), buf: make([]float32, 3*readFloats), sums: make([]float32, 2*readStride), touch: true}
	sum := func() (sum float32) {
		clear(task.sums)
		for i := range 3 {
			task.Part(i%2, i)
		}
		for _, v := range task.sums {
			sum += v
		}
		return sum
	}
	sum()
	task.touch = false
	if got := sum(); got != 3*readFloats/page {
		t.Errorf("%g pages written, want %d", got, 3*readFloats/page)
	}
	for i := range task.buf {
		task.buf[i] = 1
	}
	if got := sum(); got != 3*readFloats {
		t.Errorf("%g floats read, want %d", got, 3*readFloats)
	}
}

func TestPlanNames(t *testing.T) {
	g := Conv{C: 20, K: 40, R: 3, Pad: 1}
	for _, c := range []struct {
		p    Winograd
		want string
		muls int64
	}{
		{Winograd{Form{6, 3}, 28, byPanel, false}, "F(6×6,3×3), 28 tiles, by panel", 2 * 20 * 64 * 20 * 40},
		{Winograd{Form{4, 3}, 168, sharedV, false}, "F(4×4,3×3), 96 tiles, shared", 2 * 48 * 36 * 20 * 40},
	} {
		if got := c.p.Name(g, 2, 23, 30); got != c.want {
			t.Errorf("%+v: %q, want %q", c.p, got, c.want)
		}
		if got := c.p.Multiplications(g, 2, 23, 30); got != c.muls {
			t.Errorf("%+v: %d multiplications, want %d", c.p, got, c.muls)
		}
	}
	for _, c := range []struct {
		g    Conv
		side int
		want string
	}{
		{Conv{3, 64, 3, 1}, 32, "direct, RGB"},
		{Conv{5, 64, 3, 1}, 32, "patches"},
		{Conv{64, 64, 3, 1}, 32, "direct"},
		{Conv{64, 64, 3, 1}, 4, "packed"},
		{Conv{64, 64, 7, 0}, 7, "packed"},
	} {
		if got := c.g.Algorithm(c.side, c.side); got != c.want {
			t.Errorf("%+v at %d: %q, want %q", c.g, c.side, got, c.want)
		}
	}
	if got := (Conv{20, 40, 5, 2}).Multiplications(2, 7, 9); got != 2*7*9*25*20*40 {
		t.Errorf("%d multiplications of the direct algorithm", got)
	}
}
