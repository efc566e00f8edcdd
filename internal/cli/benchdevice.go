package cli

import (
	"context"
	"time"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// deviceBench is a network on a device that is timed.
type deviceBench struct {
	ctx     context.Context
	warmup  int           // passes that don't count
	passed  time.Duration // in the others
	input   time.Duration // of it, for images
	pass    func() error
	trainer nn.Trainer // nil: the forward pass
	runner  nn.Runner
}

// newDeviceBench brings the network to the device.
func newDeviceBench(ctx context.Context, c *benchCommand, net *network.Network, d device) (*deviceBench, error) {
	b := &deviceBench{ctx: ctx, warmup: c.Warmup}
	x := c.input()
	var pass func() (time.Duration, error)
	if c.Mode == "train" {
		var err error
		if b.trainer, err = d.NewTrainer(net.Chain(), nn.TrainerOptions{Batch: c.Batch, Groups: 1, Ranks: 1, H: c.Side, W: c.Side}); err != nil {
			return nil, err
		}
		pass = b.training(x, benchLabels(net, c.Batch))
	} else {
		b.runner = d.NewRunner()
		net.Chain().SetRunner(b.runner)
		shape, err := net.OutputShape(c.Batch, c.Side, c.Side)
		if err != nil {
			return nil, err
		}
		y := tensor.New(shape...)
		pass = func() (time.Duration, error) {
			before := b.sent()
			err := net.ForwardInto(y, x)
			return b.sent() - before, err
		}
	}
	b.pass = func() error {
		began := time.Now()
		input, err := pass()
		if b.warmup--; b.warmup < 0 {
			b.passed += time.Since(began)
			b.input += input
		}
		return err
	}
	return b, nil
}

// sent is the time of the runner's passes that went into sending images.
func (b *deviceBench) sent() time.Duration {
	if r, ok := b.runner.(interface{ InputTime() time.Duration }); ok {
		return r.InputTime()
	}
	return 0
}

// training returns a step, which sends the images of the next one as package train does, and
// returns the time in which the device waited for images.
func (b *deviceBench) training(x *tensor.Tensor, labels []int) func() (time.Duration, error) {
	steps := 0
	return func() (time.Duration, error) {
		steps++
		sent := make(chan struct{})
		go func() {
			b.trainer.Ahead(nn.TrainerBatch{X: x})
			close(sent)
		}()
		_, err := b.trainer.Step(b.ctx, nn.TrainerBatch{X: x, Labels: labels, Seed: 1, Iteration: steps}, benchUpdate)
		done := time.Now()
		<-sent
		return b.trainer.Times().Input + time.Since(done), err
	}
}

// micro is the number of images that are trained on at a time; 0 in a forward pass.
func (b *deviceBench) micro() int {
	if b.trainer == nil {
		return 0
	}
	return b.trainer.Micro()
}

// inputShare is the share of the passes' time that went into waiting for images.
func (b *deviceBench) inputShare() *float64 {
	share := b.input.Seconds() / b.passed.Seconds()
	return &share
}

// close frees the device's memory.
func (b *deviceBench) close() error {
	if b.trainer != nil {
		return b.trainer.Close()
	}
	if r, ok := b.runner.(interface{ Close() error }); ok {
		return r.Close()
	}
	return nil
}
