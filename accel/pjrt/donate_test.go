package pjrt_test

import (
	"slices"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

func TestDonation(t *testing.T) {
	c := xla.Client(t, 1)
	d := c.Devices[0]
	e := compile(t, c, scaleAdd(true), pjrt.CompileOptions{})
	m, err := e.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if m.Alias != 24 || m.Output < 24 || m.Argument < 52 {
		t.Errorf("%+v, want an alias of 24 bytes", m)
	}
	x, w, y := upload(t, d, []float32{1, 2, 3, 4, 5, 6}, 2, 3), upload(t, d, []float32{10}), upload(t, d, []float32{1, 1, 1, 1, 1, 1}, 2, 3)
	address, err := pjrt.Address(y)
	if err != nil {
		t.Fatal(err)
	}
	// From step to step in the same memory.
	for step := range 3 {
		out, err := e.Run(x, w, y)
		if err != nil {
			t.Fatal(err)
		}
		free(t, out...)
		if gone, err := y.Donated(); err != nil || !gone {
			t.Errorf("step %d: donated: %v, %v", step, gone, err)
		}
		if gone, err := x.Donated(); err != nil || gone {
			t.Errorf("step %d: what isn't donated is: %v, %v", step, gone, err)
		}
		_, err = e.Run(x, w, y)
		wantError(t, "what was donated, again", err, "donated")
		_, err = pjrt.Download[float32](y)
		wantError(t, "what was donated, to the host", err, "donated")
		y = out[0]
		if now, err := pjrt.Address(y); err != nil || now != address {
			t.Errorf("step %d: the output is at %#x, the argument was at %#x, %v", step, now, address, err)
		}
	}
	if got, err := pjrt.Download[float32](y); err != nil || !slices.Equal(got, []float32{31, 61, 91, 121, 151, 181}) {
		t.Errorf("%v, %v", got, err)
	}
	// Kept, it is copied.
	execution, err := e.Start([][]*pjrt.Buffer{{x, w, y}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	free(t, execution.Outputs[0]...)
	if err := execution.Wait(); err != nil {
		t.Fatal(err)
	}
	if gone, err := y.Donated(); err != nil || gone {
		t.Errorf("kept, it is donated: %v, %v", gone, err)
	}
	if got, err := pjrt.Download[float32](y); err != nil || got[0] != 31 {
		t.Errorf("kept: %v, %v", got, err)
	}
	if got, err := pjrt.Download[float32](execution.Outputs[0][0]); err != nil || got[0] != 41 {
		t.Errorf("after what is kept: %v, %v", got, err)
	}
	// The same buffer can't be read and donated.
	_, err = e.Run(y, w, y)
	wantError(t, "read and donated at once", err, "donate")
}
