package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestLoopEndsEarly(t *testing.T) {
	defer goleak.VerifyNone(t)
	d, fsys := pictures(t, 400)
	fsys.delay = time.Millisecond
	l := trainLoader(t, d)
	n := 0
	for _, err := range l.Epoch(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 3 {
			break
		}
	}
	if n := fsys.active.Load(); n != 0 {
		t.Errorf("%d images are being read after the loop has ended", n)
	}
	// Two batches are used up, and three buffers were there to be filled.
	if reads := fsys.total(); reads > (2+3)*l.Batch {
		t.Errorf("%d images read for three batches of %d: the look-ahead isn't bounded", reads, l.Batch)
	}
}

func TestLoopPanics(t *testing.T) {
	defer goleak.VerifyNone(t)
	d, _ := pictures(t, 40)
	defer func() {
		if recover() != "stop" {
			t.Error("the panic is lost")
		}
	}()
	for range trainLoader(t, d).Epoch(context.Background(), 0) {
		panic("stop")
	}
}

func TestCancellation(t *testing.T) {
	defer goleak.VerifyNone(t)
	d, _ := pictures(t, 40)
	stop := errors.New("enough")
	for _, after := range []int{0, 1, 5} {
		ctx, cancel := context.WithCancelCause(context.Background())
		if after == 0 {
			cancel(stop)
		}
		n, ended := 0, false
		for b, err := range trainLoader(t, d).Epoch(ctx, 0) {
			if ended {
				t.Error("the sequence goes on after its error")
			}
			if err != nil {
				ended = true
				if b != nil || !errors.Is(err, stop) {
					t.Errorf("batch %v, error %v, want the cause of the cancellation", b, err)
				}
				continue
			}
			if n++; n == after {
				cancel(stop)
			}
		}
		if n != after || !ended {
			t.Errorf("cancelled after %d batches: %d came, and an error: %v", after, n, ended)
		}
		cancel(nil)
	}
}

// An epoch that begins at a later batch has the batches of the whole epoch from there
// on, and reads no other images.
func TestEpochFrom(t *testing.T) {
	d, fsys := pictures(t, 23, 5, 20, 21, 22)
	for _, train := range []bool{true, false} {
		l := trainLoader(t, d)
		l.Train, l.SMin, l.CacheBytes = train, 9, NoCache
		whole, err := collect(l.Epoch(context.Background(), 3))
		if err != nil {
			t.Fatal(err)
		}
		for batch := 0; batch <= l.Batches(); batch++ {
			before := fsys.total()
			rest, err := collect(l.EpochFrom(context.Background(), 3, batch))
			if err != nil {
				t.Fatal(err)
			}
			images := 0
			for _, n := range whole.sizes[:batch] {
				images += n
			}
			if got, want := fsys.total()-before, max(0, d.Len()-batch*l.Batch); got != want {
				t.Errorf("train %v, from batch %d: %d images read, want %d", train, batch, got, want)
			}
			if !slices.Equal(rest.sizes, whole.sizes[batch:]) || !slices.Equal(rest.indices, whole.indices[images:]) ||
				!slices.Equal(rest.labels, whole.labels[images:]) || !slices.Equal(rest.positions, whole.positions[images:]) ||
				!slices.Equal(rest.x, whole.x[images*192:]) {
				t.Errorf("train %v: from batch %d the epoch is another", train, batch)
			}
		}
		for _, batch := range []int{-1, l.Batches() + 1} {
			if _, err := collect(l.EpochFrom(context.Background(), 3, batch)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("from batch %d, want 0 to 6", batch)) {
				t.Errorf("from batch %d: error %v", batch, err)
			}
		}
	}
}

// With Held, earlier batches stay as they are when the next ones are asked for.
func TestHeld(t *testing.T) {
	d, _ := pictures(t, 100)
	l := trainLoader(t, d)
	l.Held, l.Workers = 2, 3
	var batches []*Batch
	var seen [][]float32
	for b, err := range l.Epoch(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the workers fill what buffers they have
		batches, seen = append(batches, b), append(seen, slices.Clone(b.X.Data))
		for i := max(0, len(batches)-3); i < len(batches); i++ {
			if !slices.Equal(batches[i].X.Data, seen[i]) {
				t.Fatalf("batch %d has changed when number %d was asked for", i, len(batches)-1)
			}
		}
	}
	l.Held = -1
	if err := l.Validate(); err == nil || !strings.Contains(err.Error(), "field Held -1") {
		t.Errorf("Held -1: %v", err)
	}
}

func TestBuffersAreRecycled(t *testing.T) {
	d, _ := pictures(t, 100)
	l := trainLoader(t, d)
	buffers := map[*float32]bool{}
	for b, err := range l.Epoch(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		buffers[&b.X.Data[0]] = true
		if b.Wait < 0 {
			t.Errorf("waited %v", b.Wait)
		}
	}
	if len(buffers) > 3 {
		t.Errorf("%d buffers for 25 batches, want at most 3", len(buffers))
	}
}

// A batch doesn't change while the next ones are prepared.
func TestBatchIsValidUntilTheNext(t *testing.T) {
	d, _ := pictures(t, 60)
	l := trainLoader(t, d)
	l.Workers, l.Batch = 7, 2
	want := mustCollect(t, l, 0)
	at := 0
	for b, err := range l.Epoch(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, err := range l.Epoch(context.Background(), 1) {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		if b.Positions[0] != at || b.Indices[0] != want.indices[at] || b.Labels[0] != want.labels[at] {
			t.Fatalf("batch at position %d has changed", at)
		}
		at += len(b.Labels)
	}
}

func BenchmarkEpoch(b *testing.B) {
	train, _, err := openSample()
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		cache int64
	}{{"decode", 0}, {"cached", 1 << 30}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			l := &Loader{
				Data: train, Spec: paperSpec(b, 64, 84), Batch: 32, Train: true, SMin: 72, SMax: 96,
				Flip: true, Shift: grey, ShiftStd: 0.1, CacheBytes: c.cache,
			}
			run := func(epoch int) {
				for _, err := range l.Epoch(context.Background(), epoch) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			run(0)
			epoch := 1
			for b.Loop() {
				run(epoch)
				epoch++
			}
			b.ReportMetric(float64(b.N*train.Len())/b.Elapsed().Seconds(), "images/s")
		})
	}
}
