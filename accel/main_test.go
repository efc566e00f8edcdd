package accel

import (
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// testDevice takes devices of the plugin that the tests are given, and closes it after the
// test, when nothing may be left of it.
func testDevice(t testing.TB, o Options) *Device {
	t.Helper()
	o.Plugin = xla.Plugin(t).Path
	d, err := Open(o)
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
