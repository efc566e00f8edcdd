package cli

import (
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
)

// deviceFlags are shared by the commands that compute on accelerators.
type deviceFlags struct {
	Device    string `placeholder:"NAME" help:"Compute on an accelerator: cpu, cuda, rocm, oneapi, tpu or the file of a PJRT plugin (this program's own kernels on the processor)."`
	Precision string `default:"f32" enum:"f32,tf32,bf16" placeholder:"NAME" help:"Precision of the products on a device: f32, tf32 or bf16 (f32)."`
}

// device is an accelerator.
type device interface {
	Name() string // for people: platform and kinds
	ID() string   // for files of results: platform, kinds and precision
	NewRunner() nn.Runner
	NewTrainer(c *nn.Chain, o nn.TrainerOptions) (nn.Trainer, error)
}

// on takes a number of devices, from a number on; nil if the flags ask for none.
func (f deviceFlags) on(e *environment, first, count int) (device, error) {
	if f.Device == "" {
		if f.Precision != "f32" {
			return nil, usagef("--precision %s goes with --device: the processor's own kernels compute in float32", f.Precision)
		}
		return nil, nil
	}
	if e.device != nil {
		return e.device, nil // a process takes its devices once
	}
	d, err := takeDevice(e, f, first, count)
	if err != nil {
		return nil, fmt.Errorf("--device %s: %w", f.Device, err)
	}
	e.device = d
	return d, nil
}

// deviceID is what files of results call the opener's device; empty for the processor.
func (o *opener) deviceID() string {
	if o.device == nil {
		return ""
	}
	return o.device.ID()
}

// compute makes the opener's networks compute on the device that the flags ask for.
func (o *opener) compute(f deviceFlags) (err error) {
	o.device, err = f.on(o.env, 0, 1)
	return err
}

// place makes a network compute where the opener's networks do.
func (o *opener) place(m *vgg.Model) {
	if o.threads > 0 {
		m.Net.SetThreads(o.threads)
	}
	if o.device != nil {
		m.Net.Chain().SetRunner(o.device.NewRunner())
	}
}
