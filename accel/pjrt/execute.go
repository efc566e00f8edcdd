package pjrt

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// Execution is a program that runs, or will when its arguments are there.
type Execution struct {
	// Outputs are a row of buffers for each replica, for the caller to free. They may be
	// arguments of other executions at once.
	Outputs [][]*Buffer

	executable *Executable
	once       sync.Once
	events     []uintptr
	err        error
}

// Run runs a program of one replica and waits for it. The outputs are for the caller to free.
// Arguments that the program donates are used up, see [Executable.Start].
func (e *Executable) Run(arguments ...*Buffer) ([]*Buffer, error) {
	x, err := e.Start([][]*Buffer{arguments})
	if err != nil {
		return nil, err
	}
	if err := x.Wait(); err != nil {
		return nil, errors.Join(err, Free(x.Outputs[0]...))
	}
	return x.Outputs[0], nil
}

// Start puts a program in the devices' queues and returns at once. arguments are a row of
// buffers for each replica, on its device. [Execution.Wait] must be called once the outputs are
// wanted, since it has the errors, and frees.
//
// Arguments that the program donates (tf.aliasing_output) are used up: their memory becomes an
// output's, and using them again is an error. Those whose index is in keep are copied instead.
func (e *Executable) Start(arguments [][]*Buffer, keep ...int) (*Execution, error) {
	h := e.handle.Load()
	if h == 0 {
		return nil, fmt.Errorf("program %s is used after it was freed", e.Program.Name)
	}
	if len(arguments) != len(e.Devices) {
		return nil, fmt.Errorf("program %s: arguments of %d replicas, want %d", e.Program.Name, len(arguments), len(e.Devices))
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	n := len(arguments)
	in, out := make([]unsafe.Pointer, n), make([]unsafe.Pointer, n)
	outputs, events := make([][]uintptr, n), make([]uintptr, n)
	for r, row := range arguments {
		list, err := e.argumentHandles(r, row)
		if err != nil {
			return nil, err
		}
		outputs[r] = make([]uintptr, len(e.Program.Outputs), len(e.Program.Outputs)+1)
		in[r], out[r] = unsafe.Pointer(unsafe.SliceData(list)), unsafe.Pointer(unsafe.SliceData(outputs[r]))
		pin.Pin(in[r])
		pin.Pin(out[r])
	}
	kept := make([]int64, len(keep), len(keep)+1)
	for i, k := range keep {
		if k < 0 || k >= len(e.Program.Inputs) {
			return nil, fmt.Errorf("program %s: no argument %d to keep", e.Program.Name, k)
		}
		kept[i] = int64(k)
	}
	options := pad(executeOptions{keep: unsafe.Pointer(unsafe.SliceData(kept)), numKeep: uintptr(len(kept))})
	for _, p := range []any{options, unsafe.SliceData(kept), &in[0], &out[0], &events[0]} {
		pin.Pin(p)
	}
	_, err := call(e.plugin, loadedExecute, executeArgs{
		executable: h, options: unsafe.Pointer(options),
		arguments: unsafe.Pointer(&in[0]), numDevices: uintptr(n), numArgs: uintptr(len(e.Program.Inputs)),
		outputs: unsafe.Pointer(&out[0]), complete: unsafe.Pointer(&events[0]),
	})
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", e.Program.Name, err)
	}
	x := &Execution{executable: e, events: events}
	for r, row := range outputs {
		buffers := make([]*Buffer, len(row))
		for i, handle := range row {
			buffers[i] = e.client.newBuffer(handle, e.Devices[r], e.Program.Outputs[i])
		}
		x.Outputs = append(x.Outputs, buffers)
	}
	return x, nil
}

// argumentHandles checks a replica's arguments against the program.
func (e *Executable) argumentHandles(replica int, row []*Buffer) ([]uintptr, error) {
	pr := e.Program
	if len(row) != len(pr.Inputs) {
		return nil, fmt.Errorf("program %s: %d arguments for replica %d, want %d", pr.Name, len(row), replica, len(pr.Inputs))
	}
	list := make([]uintptr, len(row), len(row)+1)
	for i, b := range row {
		if b == nil {
			return nil, fmt.Errorf("program %s: no argument %d for replica %d", pr.Name, i, replica)
		}
		h, err := b.open()
		if err != nil {
			return nil, fmt.Errorf("program %s: argument %d: %w", pr.Name, i, err)
		}
		if !b.Shape.Equal(pr.Inputs[i]) {
			return nil, fmt.Errorf("program %s: argument %d is %v, want %v", pr.Name, i, b.Shape, pr.Inputs[i])
		}
		if b.Device != e.Devices[replica] {
			return nil, fmt.Errorf("program %s: argument %d is on device %d, replica %d runs on device %d", pr.Name, i, b.Device.ID, replica, e.Devices[replica].ID)
		}
		list[i] = h
	}
	return list, nil
}

// Wait waits until all replicas have run, and returns the first error. The outputs are for the
// caller to free then too. Further calls return the same.
func (x *Execution) Wait() error {
	x.once.Do(func() {
		for _, event := range x.events {
			if err := x.executable.plugin.await(event); err != nil && x.err == nil {
				x.err = fmt.Errorf("program %s: %w", x.executable.Program.Name, err)
			}
		}
	})
	return x.err
}
