package accel

import (
	"slices"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/oracle"
	"github.com/verydeep/vgg/nn"
)

// TestAhead: images that were sent ahead change no bit, and no step waits for them; those of
// another batch, or of one that has no step, are freed.
func TestAhead(t *testing.T) {
	d := testDevice(t, Options{Count: 2})
	batch := func(i int) nn.TrainerBatch {
		b := nn.TrainerBatch{X: oracle.Images(t, "12x3x8x8", i), Seed: 5, Iteration: i + 1}
		for j := range 12 {
			b.Labels = append(b.Labels, (j+i)%4)
		}
		return b
	}
	train := func(before func(tr *Trainer, i int), after func(tr *Trainer)) (losses []float64) {
		o := nn.TrainerOptions{Batch: 12, Groups: 4, Ranks: 2, Micro: 2, H: 8, W: 8}
		tr := newTrainer(t, d, smallChain(t, false), o)
		batches := []nn.TrainerBatch{batch(0), batch(1), batch(2)}
		tr.Ahead(batches[0])
		for i, b := range batches {
			done := make(chan struct{})
			go func() {
				defer close(done)
				if i+1 < len(batches) {
					before(tr, i)
					tr.Ahead(batches[i+1])
				}
			}()
			loss, err := tr.Step(t.Context(), b, paperUpdate)
			if err != nil {
				t.Fatal(err)
			}
			<-done
			after(tr)
			losses = append(losses, loss)
		}
		return losses
	}
	nothing := func(*Trainer, int) {}
	got := train(nothing, func(tr *Trainer) {
		if waited := tr.Times().Input; waited != 0 {
			t.Errorf("a step sent images for %v", waited)
		}
	})
	tr := newTrainer(t, d, smallChain(t, false), nn.TrainerOptions{Batch: 12, Groups: 4, Ranks: 2, Micro: 2, H: 8, W: 8})
	var want []float64
	for i := range 3 {
		loss, err := tr.Step(t.Context(), batch(i), paperUpdate)
		if err != nil {
			t.Fatal(err)
		}
		if tr.Times().Input == 0 {
			t.Error("no time for sending images")
		}
		want = append(want, loss)
	}
	if !slices.Equal(got, want) {
		t.Errorf("losses %v, without sending ahead %v", got, want)
	}
	live := d.client.Live()
	other := train(func(tr *Trainer, i int) { tr.Ahead(batch(7)) }, func(*Trainer) {})
	if !slices.Equal(other, want) {
		t.Errorf("losses %v with batches that have no step, want %v", other, want)
	}
	tr.Ahead(batch(8))
	tr.Ahead(nn.TrainerBatch{X: oracle.Images(t, "13x3x8x8", 0)}) // the step would tell
	if err := tr.next.free(); err != nil {
		t.Error(err)
	}
	if n := d.client.Live() - live; n < 0 {
		t.Errorf("%d buffers fewer than before", -n)
	}
}

// TestSmallerImages: one program for all images of up to 32 pixels less a side has the results of
// their sizes, of every layer that a dense evaluation may have.
func TestSmallerImages(t *testing.T) {
	d := testDevice(t, Options{})
	lrn, err := nn.NewLRN("lrn", nn.PaperLRN())
	if err != nil {
		t.Fatal(err)
	}
	bn := nn.NewBatchNorm("norm", 5, true)
	c := nn.NewChain(3,
		nn.NewConv("conv1", 3, 5, 3, 1, false), bn, nn.NewMaxPool("pool1"),
		nn.NewConv("conv2", 5, 5, 3, 1, true), lrn, nn.NewAveragePool("pool2"),
		nn.NewConv("conv3", 5, 4, 5, 1, false), nn.NewConv("conv4", 4, 4, 3, 1, true), nn.NewFC("fc", 4, 3, 6, false))
	setWaves(t, c)
	r := d.Runner()
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i, size := range []string{"2x3x64x64", "2x3x33x64", "1x3x63x35", "2x3x41x42", "2x3x64x37"} {
		x := oracle.Images(t, size, i)
		c.SetRunner(nil)
		want, err := c.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		c.SetRunner(r)
		got, err := c.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		vggtest.Near(t, size, got.Data, want.Data)
	}
	if programs := len(r.programs.all); programs != 3 { // of 64×64 for two images, and for smaller ones, two and one
		t.Errorf("%d programs, want 3", programs)
	}
}
