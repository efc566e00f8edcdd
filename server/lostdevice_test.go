package server

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// device is one that can fail.
type device struct{ failed atomic.Bool }

func (d *device) Forward(context.Context, *nn.Chain, *tensor.Tensor, *tensor.Tensor) error {
	if d.failed.Load() {
		return fmt.Errorf("a pass: %w", nn.ErrDevice)
	}
	return nil
}

// TestFailedDevice: a service whose device failed is neither ready nor live, by either way of its
// requests to the network, and tells so.
func TestFailedDevice(t *testing.T) {
	picture, other := vggtest.PNG(60, 50, vggtest.Noise(2)), vggtest.PNG(60, 50, vggtest.Noise(3)) // answers are kept
	for _, address := range []string{"/v1/classify", "/v1/activations"} {
		t.Run(strings.TrimPrefix(address, "/v1/"), func(t *testing.T) {
			d, m := &device{}, tiny.Random(16, 1)
			m.Net.Chain().SetRunner(d)
			_, h := serve(t, Options{}, m)
			health := func(want int) {
				t.Helper()
				for _, path := range []string{"/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready"} {
					if code, body, _ := ask(t, "GET", h.URL+path, nil); code != want {
						t.Errorf("%s: code %d, want %d: %s", path, code, want, body)
					}
				}
			}
			if code, body, _ := ask(t, "POST", h.URL+address, picture); code != 200 {
				t.Fatalf("code %d: %s", code, body)
			}
			health(200)
			d.failed.Store(true)
			if code, body, _ := ask(t, "POST", h.URL+address, other); code != 500 {
				t.Errorf("code %d: %s", code, body)
			}
			health(503)
		})
	}
}
