//go:build accel

package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg/accel"
	"github.com/verydeep/vgg/accel/plugins"
	"github.com/verydeep/vgg/nn"
)

// accelerator is a device of package accel.
type accelerator struct{ *accel.Device }

// NewRunner implements device.
func (a accelerator) NewRunner() nn.Runner { return a.Runner() }

// NewTrainer implements device.
func (a accelerator) NewTrainer(c *nn.Chain, o nn.TrainerOptions) (nn.Trainer, error) {
	return a.Device.NewTrainer(c, o)
}

// takeDevice takes a number of devices, from a number on.
func takeDevice(e *environment, f deviceFlags, first, count int) (device, error) {
	plugin, err := plugins.Find(f.Device, e.getenv)
	if err != nil {
		return nil, err
	}
	o := accel.Options{Plugin: plugin.Path, Platform: plugin.Platform(), First: first, Count: count, Precision: accel.Precision(f.Precision)}
	if dir, err := os.UserCacheDir(); err == nil {
		o.CacheDir = filepath.Join(dir, "vgg", "programs")
	}
	d, err := accel.Open(o)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, checkText(plugin.Kind))
	}
	return accelerator{d}, nil
}
