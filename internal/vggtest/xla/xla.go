// Package xla opens accelerators for tests.
package xla

import (
	"os"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/accel/plugins"
	"github.com/verydeep/vgg/internal/vggtest"
)

// Plugin returns the PJRT plugin that VGG_PJRT_PLUGIN names. Where there is none, the test is
// skipped.
func Plugin(t testing.TB) *pjrt.Plugin {
	t.Helper()
	path := os.Getenv(plugins.Variable)
	if path == "" {
		vggtest.Skip(t, "a PJRT plugin, such as that of pip install lammps-jax-pjrt-cpu, in "+plugins.Variable)
	}
	p, err := pjrt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Client returns a client with at least so many devices, and closes it at the test's end: all
// buffers and programs must be freed by then. On CPUs devices are threads, as many as wanted;
// elsewhere a test that wants more than there are is skipped.
func Client(t testing.TB, devices int) *pjrt.Client {
	t.Helper()
	p := Plugin(t)
	c, err := p.NewClient(pjrt.Settings{"cpu_device_count": devices})
	if err != nil { // no CPU: the option is unknown
		c, err = p.NewClient(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if len(c.Devices) < devices {
		vggtest.Skip(t, "several accelerators")
	}
	return c
}
