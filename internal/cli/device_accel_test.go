//go:build accel

package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/verydeep/vgg/accel"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/accel/plugins"
)

// TestAdvised: what is said beside an error is what helps against it.
func TestAdvised(t *testing.T) {
	noDriver := fmt.Errorf("accel: %w", &pjrt.Error{Code: pjrt.FailedPrecondition, Function: "PJRT_Client_Create", Message: "No visible GPU devices."})
	few := &accel.TooFewError{Platform: "cuda", Count: 4, Have: 2}
	for _, test := range []struct {
		err    error
		plugin plugins.Plugin
		want   string
	}{
		{noDriver, plugins.Plugin{Kind: "cuda"}, "accel: PJRT_Client_Create: failed precondition: No visible GPU devices. (nvidia-smi lists the GPUs that the driver sees)"},
		{noDriver, plugins.Plugin{Kind: "tpu"}, "accel: PJRT_Client_Create: failed precondition: No visible GPU devices."},
		{few, plugins.Plugin{}, "accel: 4 devices, and cuda has 2: ask for fewer (--ranks), or see whether vgg devices lists as many (nvidia-smi lists the GPUs that the driver sees)"},
		{errors.New(`accel: precision "f8"`), plugins.Plugin{Kind: "cuda"}, `accel: precision "f8"`},
	} {
		if got := advised(test.err, test.plugin); got.Error() != test.want || !errors.Is(got, test.err) {
			t.Errorf("%v, want %s", got, test.want)
		}
	}
	other := &accel.PlatformError{Plugin: "p.so", Is: "cpu", Want: "cuda"}
	if got := advised(other, plugins.Plugin{Kind: "cuda", From: plugins.Variable}).Error(); !strings.HasPrefix(got, other.Error()+": "+plugins.Variable) || strings.Contains(got, "nvidia-smi") {
		t.Errorf("another plugin: %s", got)
	}
}
