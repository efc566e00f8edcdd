package pjrt

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Program is a StableHLO module and the signature of its function main.
type Program struct {
	Name    string  // for messages
	Code    []byte  // the module, as text or as bytecode
	Inputs  []Shape // of main's arguments
	Outputs []Shape // of main's results
}

func (pr Program) check() error {
	if len(pr.Code) == 0 {
		return fmt.Errorf("program %s: no code", pr.Name)
	}
	for _, shapes := range [][]Shape{pr.Inputs, pr.Outputs} {
		for _, s := range shapes {
			if err := s.check(); err != nil {
				return fmt.Errorf("program %s: %w", pr.Name, err)
			}
		}
	}
	return nil
}

// pinned makes PJRT's struct of a program.
func (pr Program) pinned(pin *runtime.Pinner) unsafe.Pointer {
	const format = "mlir"
	code := pr.Code
	pin.Pin(&code[0])
	a := pad(programArgs{
		code: unsafe.Pointer(&code[0]), codeSize: uintptr(len(code)),
		format: cString(format, pin), formatSize: uintptr(len(format)),
	})
	pin.Pin(a)
	return unsafe.Pointer(a)
}

// Compiled is a compiled program, which can be measured and serialised.
type Compiled struct {
	Program Program
	plugin  *Plugin
	client  *Client // nil: compiled for a topology
	handle  atomic.Uintptr
}

// Executable is a compiled program that is loaded on devices.
type Executable struct {
	*Compiled
	Devices []*Device // one for each replica
	handle  atomic.Uintptr
}

// Compile compiles a program and loads it on devices.
func (c *Client) Compile(pr Program, o CompileOptions) (*Executable, error) {
	h, err := c.open()
	if err != nil {
		return nil, err
	}
	if err := pr.check(); err != nil {
		return nil, err
	}
	if n, err := o.replicas(); err == nil && n > len(c.Devices) {
		return nil, fmt.Errorf("compile: %d replicas, and %s has %d devices", n, c.Platform, len(c.Devices))
	}
	for _, d := range o.Devices {
		if d.Client != c {
			return nil, errors.New("compile: a device of another client")
		}
	}
	options, err := o.encode(c.Plugin.flags)
	if err != nil {
		return nil, err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&options[0])
	a, err := call(c.Plugin, clientCompile, clientCompileArgs{
		client: h, program: pr.pinned(&pin), options: unsafe.Pointer(&options[0]), optionsSize: uintptr(len(options)),
	})
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", pr.Name, err)
	}
	return c.newExecutable(a.executable, pr)
}

// Load loads what [Compiled.Serialize] gave, on the devices that it was compiled for. data must
// be of this very plugin and kind of device, and undamaged: the plugin trusts them.
func (c *Client) Load(data []byte, pr Program) (*Executable, error) {
	h, err := c.open()
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("program %s: no data to load", pr.Name)
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&data[0])
	a, err := call(c.Plugin, executableDeserialize, deserializeArgs{client: h, data: unsafe.Pointer(&data[0]), size: uintptr(len(data))})
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", pr.Name, err)
	}
	return c.newExecutable(a.executable, pr)
}

func (c *Client) newExecutable(handle uintptr, pr Program) (*Executable, error) {
	e := &Executable{}
	e.handle.Store(handle)
	e.Compiled = &Compiled{Program: pr, plugin: c.Plugin, client: c}
	c.live.Add(1)
	inner, err := call(c.Plugin, loadedGetExecutable, pairArgs{in: handle})
	if err == nil {
		e.Compiled.handle.Store(inner.out)
		err = e.checkOutputs()
	}
	if err == nil {
		err = e.findDevices(handle)
	}
	if err != nil {
		e.Free() // the first error says more
		return nil, fmt.Errorf("program %s: %w", pr.Name, err)
	}
	return e, nil
}

func (e *Executable) findDevices(handle uintptr) error {
	list, err := call(e.plugin, loadedAddressableDevices, listArgs{in: handle})
	if err != nil {
		return err
	}
	for _, h := range handles(list.address, list.count) {
		for _, d := range e.client.Devices {
			if d.handle == h {
				e.Devices = append(e.Devices, d)
			}
		}
	}
	if len(e.Devices) != int(list.count) || list.count == 0 {
		return fmt.Errorf("loaded on %d devices, of which the client has %d", list.count, len(e.Devices))
	}
	return nil
}

// checkOutputs compares what the plugin compiled with the program's signature: the outputs'
// memory is the caller's, as long as the signature says.
func (e *Compiled) checkOutputs() error {
	h := e.handle.Load()
	n, err := call(e.plugin, executableNumOutputs, pairArgs{in: h})
	if err != nil {
		return err
	}
	if int(n.out) != len(e.Program.Outputs) {
		return fmt.Errorf("%d outputs, its signature has %d", n.out, len(e.Program.Outputs))
	}
	kinds, err := call(e.plugin, executableElementTypes, listArgs{in: h})
	if err != nil {
		return err
	}
	dims, err := call(e.plugin, executableDimensions, executableDimensionsArgs{executable: h})
	if err != nil {
		return err
	}
	if kinds.count != n.out || dims.count != n.out {
		return fmt.Errorf("types of %d and dimensions of %d outputs, want %d", kinds.count, dims.count, n.out)
	}
	for i, want := range e.Program.Outputs {
		size := unsafe.Sizeof(uintptr(0))
		got := Shape{Type: Type(*at[int32](kinds.address + uintptr(i)*unsafe.Sizeof(int32(0))))}
		for range *at[uintptr](dims.ranks + uintptr(i)*size) {
			got.Dims = append(got.Dims, int(*at[int64](dims.dims)))
			dims.dims += unsafe.Sizeof(int64(0))
		}
		if !got.Equal(want) {
			return fmt.Errorf("output %d is %v, its signature has %v", i, got, want)
		}
	}
	return nil
}

// Free frees the program. A second call does nothing.
func (e *Executable) Free() error {
	err := e.Compiled.Free()
	h := e.handle.Swap(0)
	if h == 0 {
		return err
	}
	e.client.live.Add(-1)
	return errors.Join(err, e.plugin.free(loadedDestroy, h))
}

// Free frees the program. A second call does nothing.
func (e *Compiled) Free() error { return e.plugin.free(executableDestroy, e.handle.Swap(0)) }

func (e *Compiled) open() (uintptr, error) {
	h := e.handle.Load()
	if h == 0 {
		return 0, fmt.Errorf("program %s is used after it was freed", e.Program.Name)
	}
	return h, nil
}
