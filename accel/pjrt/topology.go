package pjrt

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Topology describes devices that programs can be compiled for, whether or not this machine has
// them.
type Topology struct {
	Platform string
	Devices  []Description

	plugin *Plugin
	handle atomic.Uintptr
}

// NewTopology makes a topology by the plugin's name for it and its options: for TPUs the name is
// such as v5e:2x2; for CUDA it is empty, and options are topology ("1x1x2": slices, hosts,
// devices) and target_config (a GpuTargetConfigProto in text form).
func (p *Plugin) NewTopology(name string, options Settings) (*Topology, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	array, n, err := options.encode(&pin)
	if err != nil {
		return nil, err
	}
	a, err := call(p, topologyCreate, topologyCreateArgs{name: cString(name, &pin), nameSize: uintptr(len(name)), options: array, numOptions: n})
	if err != nil {
		return nil, fmt.Errorf("topology %q: %w", name, err)
	}
	t := &Topology{plugin: p}
	t.handle.Store(a.topology)
	if err := t.describe(a.topology); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Topology) describe(h uintptr) (err error) {
	if t.Platform, err = t.plugin.text(topologyPlatformName, h); err != nil {
		return err
	}
	list, err := call(t.plugin, topologyGetDescriptions, listArgs{in: h})
	if err != nil {
		return err
	}
	for _, d := range handles(list.address, list.count) {
		description, err := t.plugin.description(d)
		if err != nil {
			return err
		}
		t.Devices = append(t.Devices, description)
	}
	return nil
}

// Compile compiles a program ahead of time. [CompileOptions.Devices] must be nil.
func (t *Topology) Compile(pr Program, o CompileOptions) (*Compiled, error) {
	h := t.handle.Load()
	if h == 0 {
		return nil, errors.New("a topology is used after it was closed")
	}
	if err := pr.check(); err != nil {
		return nil, err
	}
	if o.Devices != nil {
		return nil, errors.New("compile: devices given for a topology, which has none")
	}
	options, err := o.encode()
	if err != nil {
		return nil, err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&options[0])
	a, err := call(t.plugin, compileForTopology, compileArgs{
		topology: h, program: pr.pinned(&pin), options: unsafe.Pointer(&options[0]), optionsSize: uintptr(len(options)),
	})
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", pr.Name, err)
	}
	c := &Compiled{Program: pr, plugin: t.plugin}
	c.handle.Store(a.executable)
	if err := c.checkOutputs(); err != nil {
		return nil, errors.Join(fmt.Errorf("program %s: %w", pr.Name, err), c.Free())
	}
	return c, nil
}

// Close frees the topology. A second call does nothing.
func (t *Topology) Close() error { return t.plugin.free(topologyDestroy, t.handle.Swap(0)) }
