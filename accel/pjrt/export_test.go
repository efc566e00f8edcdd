package pjrt

// Address returns the device's address of a buffer.
func Address(b *Buffer) (uintptr, error) {
	h, err := b.open()
	if err != nil {
		return 0, err
	}
	a, err := call(b.Device.Client.Plugin, bufferUnsafePointer, pairArgs{in: h})
	return a.out, err
}
