//go:build accel

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg/accel"
	"github.com/verydeep/vgg/accel/pjrt"
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
		return nil, advised(err, plugin)
	}
	return accelerator{d}, nil
}

// advised is an error of opening a plugin with what can be done about it.
func advised(err error, p plugins.Plugin) error {
	if few, ok := errors.AsType[*accel.TooFewError](err); ok {
		return fmt.Errorf("%w: ask for fewer (--ranks), or see whether vgg devices lists as many%s", err, checkText(few.Platform))
	}
	if other, ok := errors.AsType[*accel.PlatformError](err); ok && p.From == plugins.Variable {
		return fmt.Errorf("%w: %s names it; leave that out, set it to a plugin for %s, or give --device %s", err, plugins.Variable, other.Want, other.Is)
	}
	if _, ok := errors.AsType[*pjrt.Error](err); ok { // the plugin was loaded, and found no device
		return fmt.Errorf("%w%s", err, checkText(p.Kind))
	}
	return err
}

// checkText says how to see whether the driver of a kind of device works.
func checkText(kind string) string {
	for _, k := range plugins.Kinds() {
		if k.Name == kind && k.Check != "" {
			return " (" + k.Check + ")"
		}
	}
	return ""
}
