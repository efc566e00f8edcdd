package accel

import (
	"os"
	"testing"

	"github.com/verydeep/vgg/accel/plugins"
	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// testDevice takes devices of the plugin that the tests are given, and closes it after the
// test, when nothing may be left of it.
func testDevice(t testing.TB, o Options) *Device {
	t.Helper()
	if o.Plugin = os.Getenv(plugins.Variable); o.Plugin == "" {
		vggtest.Skip(t, "a PJRT plugin ("+plugins.Variable+")")
	}
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
