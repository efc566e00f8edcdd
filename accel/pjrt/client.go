package pjrt

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Client holds a plugin's devices, as long as it is open: on GPUs, their memory too.
type Client struct {
	Plugin   *Plugin
	Platform string    // such as cpu, cuda, rocm, tpu
	Version  string    // the platform's own words, such as the version of CUDA
	Devices  []*Device // those that this process can use, at least one

	handle atomic.Uintptr
	live   atomic.Int64 // buffers and programs that aren't freed
}

// NewClient takes the devices. Options depend on the platform, see [Settings].
func (p *Plugin) NewClient(options Settings) (*Client, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	array, n, err := options.encode(&pin)
	if err != nil {
		return nil, err
	}
	a, err := call(p, clientCreate, clientCreateArgs{options: array, numOptions: n})
	if err != nil {
		return nil, err
	}
	c := &Client{Plugin: p}
	c.handle.Store(a.client)
	if err := c.describe(); err != nil {
		c.Close() // the first error says more
		return nil, err
	}
	return c, nil
}

// Look takes the devices to describe them, as sparingly as the plugin can: GPUs without their
// memory, of which it otherwise takes most, and a processor as one device.
func (p *Plugin) Look() (*Client, error) { return look(p.NewClient) }

// look tries options of which each plugin refuses those that aren't its own.
func look(open func(Settings) (*Client, error)) (c *Client, err error) {
	for _, options := range []Settings{{"preallocate": false}, {"cpu_device_count": 1}, nil} {
		if c, err = open(options); !IsCode(err, InvalidArgument) {
			break
		}
	}
	return c, err
}

func (c *Client) describe() (err error) {
	p, h := c.Plugin, c.handle.Load()
	if c.Platform, err = p.text(clientPlatformName, h); err != nil {
		return err
	}
	if c.Version, err = p.text(clientPlatformVersion, h); err != nil {
		return err
	}
	list, err := call(p, clientAddressableDevices, listArgs{in: h})
	if err != nil {
		return err
	}
	if list.count == 0 {
		return fmt.Errorf("%s: the client has no device that this process can use", p.Path)
	}
	for _, handle := range unsafe.Slice(at[uintptr](list.address), list.count) {
		d, err := c.newDevice(handle)
		if err != nil {
			return err
		}
		c.Devices = append(c.Devices, d)
	}
	return nil
}

// Live returns the number of buffers and programs of the client that aren't freed.
func (c *Client) Live() int { return int(c.live.Load()) }

// Close gives the devices back. It is an error to close a client of which buffers or programs
// are left. A second call does nothing.
func (c *Client) Close() error {
	if n := c.Live(); n > 0 {
		return fmt.Errorf("the client can't be closed: %d buffers and programs of it aren't freed", n)
	}
	return c.Plugin.free(clientDestroy, c.handle.Swap(0))
}

// open returns the client's handle.
func (c *Client) open() (uintptr, error) {
	h := c.handle.Load()
	if h == 0 {
		return 0, fmt.Errorf("the client of %s is closed", c.Plugin.Path)
	}
	return h, nil
}
