package pjrt

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Buffer is an array in a device's memory.
type Buffer struct {
	Shape  Shape
	Device *Device
	handle atomic.Uintptr
}

// Upload copies data to a device: row-major, of these dimensions (none for a scalar). It returns
// when data may be changed.
func Upload[T Element](d *Device, data []T, dims ...int) (*Buffer, error) {
	shape := NewShape(TypeOf[T](), dims...)
	if err := shape.check(); err != nil {
		return nil, err
	}
	if len(data) != shape.Count() {
		return nil, fmt.Errorf("upload: %d values for %v", len(data), shape)
	}
	return upload(d, unsafe.Pointer(&data[0]), shape)
}

// UploadBytes copies raw elements in the machine's byte order, such as bf16, to a device.
func UploadBytes(d *Device, data []byte, shape Shape) (*Buffer, error) {
	if err := shape.check(); err != nil {
		return nil, err
	}
	if len(data) != shape.Bytes() {
		return nil, fmt.Errorf("upload: %d bytes for the %d of %v", len(data), shape.Bytes(), shape)
	}
	return upload(d, unsafe.Pointer(&data[0]), shape)
}

// untilTransferCompletes promises that data don't change before the plugin says that it needs
// them no more; so it needs no copy of them first.
const untilTransferCompletes = 1 // kImmutableUntilTransferCompletes

func upload(d *Device, data unsafe.Pointer, shape Shape) (*Buffer, error) {
	c := d.Client
	h, err := c.open()
	if err != nil {
		return nil, err
	}
	dims := shape.int64s()
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(data)
	a, err := call(c.Plugin, clientBufferFromHostBuffer, fromHostArgs{
		client: h, data: data, kind: int32(shape.Type), dims: unsafe.Pointer(unsafe.SliceData(dims)), numDims: uintptr(len(dims)),
		semantics: untilTransferCompletes, device: d.handle,
	})
	if err != nil {
		return nil, err
	}
	b := c.newBuffer(a.buffer, d, shape)
	if err := c.Plugin.await(a.done); err != nil {
		b.Free() // the first error says more
		return nil, err
	}
	return b, nil
}

func (c *Client) newBuffer(handle uintptr, d *Device, shape Shape) *Buffer {
	b := &Buffer{Shape: shape, Device: d}
	b.handle.Store(handle)
	c.live.Add(1)
	return b
}

// Download returns a copy of a buffer's elements, row-major; T is their type. It waits until the
// program that makes them has run.
func Download[T Element](b *Buffer) ([]T, error) {
	dst := make([]T, b.Shape.Count())
	if err := DownloadInto(b, dst); err != nil {
		return nil, err
	}
	return dst, nil
}

// DownloadInto copies a buffer's elements to dst, which has their type and their number.
func DownloadInto[T Element](b *Buffer, dst []T) error {
	if t := TypeOf[T](); t != b.Shape.Type {
		return fmt.Errorf("download: %v to a slice of %v", b.Shape, t)
	}
	if len(dst) != b.Shape.Count() {
		return fmt.Errorf("download: %v to a slice of %d", b.Shape, len(dst))
	}
	return b.download(unsafe.Pointer(&dst[0]))
}

// DownloadBytes copies a buffer's raw elements to dst, in the machine's byte order.
func DownloadBytes(b *Buffer, dst []byte) error {
	if len(dst) != b.Shape.Bytes() {
		return fmt.Errorf("download: %v to %d bytes, want %d", b.Shape, len(dst), b.Shape.Bytes())
	}
	return b.download(unsafe.Pointer(&dst[0]))
}

func (b *Buffer) download(to unsafe.Pointer) error {
	h, err := b.open()
	if err != nil {
		return err
	}
	rank := len(b.Shape.Dims)
	order := make([]int64, rank, rank+1)
	for i := range order {
		order[i] = int64(rank - 1 - i)
	}
	// Without a layout the data come in the device's, which may be any.
	var layout tiledLayout
	layout.tiled.size = unsafe.Sizeof(layout.tiled)
	layout.tiled.minorToMajor, layout.tiled.rank = unsafe.Pointer(unsafe.SliceData(order)), uintptr(rank)
	l := pad(layout)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(to)
	pin.Pin(l)
	pin.Pin(unsafe.SliceData(order))
	p := b.Device.Client.Plugin
	a, err := call(p, bufferToHostBuffer, toHostArgs{buffer: h, layout: unsafe.Pointer(l), to: to, size: uintptr(b.Shape.Bytes())})
	if err != nil {
		return err
	}
	return p.await(a.event)
}

// Free frees a buffer, also one that was donated. A second call does nothing.
func (b *Buffer) Free() error {
	h := b.handle.Swap(0)
	if h == 0 {
		return nil
	}
	b.Device.Client.live.Add(-1)
	return b.Device.Client.Plugin.free(bufferDestroy, h)
}

// Free frees buffers; nil ones are passed over.
func Free(buffers ...*Buffer) error {
	var errs []error
	for _, b := range buffers {
		if b != nil {
			errs = append(errs, b.Free())
		}
	}
	return errors.Join(errs...)
}

// Donated reports whether the buffer's memory was given to a program's output. The buffer must
// be freed all the same.
func (b *Buffer) Donated() (bool, error) {
	h, err := b.open()
	if err != nil {
		return false, err
	}
	a, err := call(b.Device.Client.Plugin, bufferIsDeleted, numberArgs{in: h})
	return a.number&0xff != 0, err
}

// open returns the buffer's handle.
func (b *Buffer) open() (uintptr, error) {
	h := b.handle.Load()
	if h == 0 {
		return 0, fmt.Errorf("a buffer of %v is used after it was freed", b.Shape)
	}
	return h, nil
}
