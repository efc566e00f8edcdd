//go:build accel

package cli

import (
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

// takeDevice takes a number of devices.
func takeDevice(e *environment, f deviceFlags, count int) (device, error) {
	plugin, err := plugins.Find(f.Device, e.getenv)
	if err != nil {
		return nil, err
	}
	o := accel.Options{Plugin: plugin.Path, Count: count, Precision: accel.Precision(f.Precision)}
	if dir, err := os.UserCacheDir(); err == nil {
		o.CacheDir = filepath.Join(dir, "vgg", "programs")
	}
	d, err := accel.Open(o)
	if err != nil {
		return nil, err
	}
	return accelerator{d}, nil
}
