package accel

import (
	"errors"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// testDevice takes devices of the plugin that the tests are given, and closes it after the
// test, when nothing may be left of it. A test that wants more devices than there are is skipped;
// a processor is as many as are wanted.
func testDevice(t testing.TB, o Options) *Device {
	t.Helper()
	o.Plugin = xla.Plugin(t).Path
	d, err := Open(o)
	if few, ok := errors.AsType[*TooFewError](err); ok && few.Platform != "cpu" {
		vggtest.Skip(t, "several accelerators")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
