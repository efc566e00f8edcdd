package pjrt_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

func TestSerialize(t *testing.T) {
	c := xla.Client(t, 1)
	e := compile(t, c, scaleAdd(true), pjrt.CompileOptions{})
	data, err := e.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := c.Load(data, scaleAdd(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loaded.Free() })
	if err := once(loaded, 3, 5); err == nil || !strings.Contains(err.Error(), "donate") {
		t.Errorf("what was loaded donates no more: %v", err) // once gives x twice
	}
	d := c.Devices[0]
	out, err := loaded.Run(upload(t, d, []float32{1, 2, 3, 4, 5, 6}, 2, 3), upload(t, d, []float32{2}), upload(t, d, make([]float32, 6), 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	free(t, out...)
	if got, err := pjrt.Download[float32](out[0]); err != nil || !slices.Equal(got, []float32{2, 4, 6, 8, 10, 12}) {
		t.Errorf("%v, %v", got, err)
	}
	// With another signature, or what nobody serialised.
	other := scaleAdd(true)
	other.Outputs = []pjrt.Shape{pjrt.NewShape(pjrt.F32, 6)}
	_, err = c.Load(data, other)
	wantError(t, "another signature", err, "output 0 is tensor<2x3xf32>, its signature has tensor<6xf32>")
	var e2 *pjrt.Error
	if _, err = c.Load([]byte("nobody serialised this"), scaleAdd(true)); !errors.As(err, &e2) {
		t.Errorf("no program: %v", err)
	}
}

func TestOptimized(t *testing.T) {
	c := xla.Client(t, 1)
	e := compile(t, c, scaleAdd(false), pjrt.CompileOptions{})
	module, err := e.Optimized()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"scale_add", "multiply", "parameter"} {
		if !bytes.Contains(module, []byte(word)) {
			t.Errorf("the optimised module of %d bytes doesn't name %s", len(module), word)
		}
	}
}

func TestDescriptions(t *testing.T) {
	c := xla.Client(t, 2)
	if c.Platform == "" || c.Version == "" {
		t.Errorf("platform %q, version %q", c.Platform, c.Version)
	}
	for i, d := range c.Devices {
		if d.Kind == "" || d.Text == "" || slices.ContainsFunc(c.Devices[:i], func(o *pjrt.Device) bool { return o.ID == d.ID }) {
			t.Errorf("device %d: %+v", i, d.Description)
		}
		m, err := d.Memory()
		if err != nil && !errors.Is(err, pjrt.Unimplemented) || err == nil && m.Limit < 0 {
			t.Errorf("device %d: %+v, %v", i, m, err)
		}
	}
	a, err := c.Plugin.Attributes()
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := a["stablehlo_current_version"].([]int64); !ok || len(v) != 3 || v[0] != 1 {
		t.Errorf("%v, want a version of StableHLO", a)
	}
}
