package pjrt

import "unsafe"

// Description says what a device is.
type Description struct {
	ID         int            // unique in the client or topology
	Kind       string         // such as NVIDIA H100 80GB HBM3
	Text       string         // the plugin's one-line description
	Attributes map[string]any // the platform's, such as compute_capability
}

// Device is a device that a client can use.
type Device struct {
	Description
	Client *Client
	handle uintptr // the client's: not freed
}

func (c *Client) newDevice(handle uintptr) (*Device, error) {
	a, err := call(c.Plugin, deviceGetDescription, pairArgs{in: handle})
	if err != nil {
		return nil, err
	}
	d, err := c.Plugin.description(a.out)
	return &Device{Description: d, Client: c, handle: handle}, err
}

// description reads a PJRT_DeviceDescription.
func (p *Plugin) description(handle uintptr) (d Description, err error) {
	id, err := call(p, descriptionID, numberArgs{in: handle})
	if err != nil {
		return d, err
	}
	d.ID = int(id.number)
	if d.Kind, err = p.text(descriptionKind, handle); err != nil {
		return d, err
	}
	if d.Text, err = p.text(descriptionToString, handle); err != nil {
		return d, err
	}
	a, err := call(p, descriptionAttributes, descriptionAttributesArgs{in: handle})
	if err != nil {
		return d, err
	}
	d.Attributes = readValues(a.address, a.count)
	return d, nil
}

// DeviceMemory is the state of a device's memory, in bytes. What the plugin doesn't say is 0.
type DeviceMemory struct {
	InUse     int64
	PeakInUse int64
	Limit     int64 // what programs can have of it
	Largest   int64 // the largest allocation up to now
}

// Memory returns the state of the device's memory. Plugins for CPUs don't know it: an [Error]
// with [Unimplemented].
func (d *Device) Memory() (DeviceMemory, error) {
	if _, err := d.Client.open(); err != nil {
		return DeviceMemory{}, err
	}
	a, err := call(d.Client.Plugin, deviceMemoryStats, deviceMemoryArgs{device: d.handle})
	if err != nil {
		return DeviceMemory{}, err
	}
	return DeviceMemory{InUse: a.inUse, PeakInUse: a.peakInUse.get(), Limit: a.limit.get(), Largest: a.largest.get()}, nil
}

func (o optionalInt) get() int64 {
	if !o.set {
		return 0
	}
	return o.value
}

// handles reads an array of handles in the plugin's memory.
func handles(address, count uintptr) []uintptr {
	if count == 0 {
		return nil
	}
	return unsafe.Slice(at[uintptr](address), count)
}
