package accel

import (
	"errors"
	"fmt"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/nn"
)

// hostValues returns a parameter's values in device order, of the given dimensions.
func hostValues(p *nn.Param, dims []int) ([]float32, error) {
	return inDeviceOrder(p, dims, p.Get, func(i int, dst []float32) error { return p.GetInputs(i, dst) })
}

// momentumValues returns in device order what a buffer in the packed order of p holds.
func momentumValues(p *nn.Param, dims []int, packed []float32) ([]float32, error) {
	return inDeviceOrder(p, dims, func(dst []float32) error { return p.Unpack(dst, packed) },
		func(i int, dst []float32) error { return p.UnpackInputs(i, dst, packed) })
}

// inDeviceOrder reads a vector by whole, or weights in-unit by in-unit.
func inDeviceOrder(p *nn.Param, dims []int, whole func([]float32) error, unit func(i int, dst []float32) error) ([]float32, error) {
	v := make([]float32, p.Len())
	if len(p.Shape) == 1 {
		return v, whole(v)
	}
	return v, eachUnit(dims, v, unit)
}

// setHostValues sets a parameter to values in device order.
func setHostValues(p *nn.Param, dims []int, v []float32) error {
	if len(p.Shape) == 1 {
		return p.Set(v)
	}
	return eachUnit(dims, v, p.SetInputs)
}

// setMomentum sets a buffer in the packed order of p to values in device order.
func setMomentum(p *nn.Param, dims []int, packed, v []float32) error {
	if len(p.Shape) == 1 {
		return p.PackRows(0, packed, v)
	}
	return eachUnit(dims, v, func(i int, src []float32) error { return p.PackInputs(i, packed, src) })
}

// eachUnit calls f for each in-unit of weights, in (C,R,R) order, with its part of v, whose
// dimensions are (R,R,C,K).
func eachUnit(dims []int, v []float32, f func(i int, part []float32) error) error {
	taps, channels, k := dims[0]*dims[1], dims[2], dims[3]
	for i := range taps * channels {
		at := (i%taps*channels + i/taps) * k
		if err := f(i, v[at:at+k]); err != nil {
			return err
		}
	}
	return nil
}

// resident is a parameter on a device.
type resident struct {
	version uint64
	buffer  *pjrt.Buffer
}

// residents are the parameters of a network on a device. They are sent when they are first
// asked for, and again when they have changed.
type residents struct {
	device *Device
	all    map[*nn.Param]resident
}

// current reports whether all parameters are there as they are now.
func (r *residents) current(params []*nn.Param) bool {
	for _, p := range params {
		if have, ok := r.all[p]; !ok || have.version != p.Version() {
			return false
		}
	}
	return true
}

// send sends what isn't current.
func (r *residents) send(params []*nn.Param, dims [][]int) error {
	for i, p := range params {
		have, ok := r.all[p]
		version := p.Version()
		if ok && have.version == version {
			continue
		}
		v, err := hostValues(p, dims[i])
		if err != nil {
			return err
		}
		if ok { // the old one goes before the new one comes
			if err := r.drop(p); err != nil {
				return err
			}
		}
		b, err := pjrt.Upload(r.device.devices[0], v, dims[i]...)
		if err != nil {
			return fmt.Errorf("accel: %s: %w", p.Name, err)
		}
		r.all[p] = resident{version, b}
		r.device.holds.Add(int64(b.Shape.Bytes()))
	}
	return nil
}

// buffers lists the parameters' memory on the device.
func (r *residents) buffers(params []*nn.Param) []*pjrt.Buffer {
	all := make([]*pjrt.Buffer, len(params))
	for i, p := range params {
		all[i] = r.all[p].buffer
	}
	return all
}

// free frees the memory.
func (r *residents) free() error {
	var errs []error
	for p := range r.all {
		errs = append(errs, r.drop(p))
	}
	return errors.Join(errs...)
}

// drop frees the memory of a parameter.
func (r *residents) drop(p *nn.Param) error {
	b := r.all[p].buffer
	delete(r.all, p)
	r.device.holds.Add(-int64(b.Shape.Bytes()))
	return b.Free()
}

// bytes is the memory of those of the parameters that are there.
func (r *residents) bytes(params []*nn.Param) (n int64) {
	for _, p := range params {
		if have, ok := r.all[p]; ok {
			n += int64(have.buffer.Shape.Bytes())
		}
	}
	return n
}
