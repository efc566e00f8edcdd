package pjrt

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"unsafe"
)

// Settings are options by name: of a client or a topology. A value is a string, an int, an
// []int64, a float32 or a bool. The plugin refuses names that it doesn't know.
//
// Names of clients: for CPU cpu_device_count (int); for CUDA and ROCm visible_devices
// ([]int64), memory_fraction (float32), preallocate (bool), allocator (string).
type Settings map[string]any

// Kinds of PJRT_NamedValue.
const (
	stringValue = iota
	intValue
	intsValue
	floatValue
	boolValue
)

// encode makes PJRT's array of the values, ordered by name. Its memory is pinned.
func (v Settings) encode(pin *runtime.Pinner) (array unsafe.Pointer, count uintptr, err error) {
	if len(v) == 0 {
		return nil, 0, nil
	}
	all := make([]namedValue, 0, len(v))
	for name, value := range v {
		n, err := encodeValue(value, pin)
		if err != nil {
			return nil, 0, fmt.Errorf("option %s: %w", name, err)
		}
		n.size = unsafe.Sizeof(n)
		n.name, n.nameSize = cString(name, pin), uintptr(len(name))
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b namedValue) int {
		return slices.Compare(unsafe.Slice((*byte)(a.name), a.nameSize), unsafe.Slice((*byte)(b.name), b.nameSize))
	})
	pin.Pin(&all[0])
	return unsafe.Pointer(&all[0]), uintptr(len(all)), nil
}

func encodeValue(value any, pin *runtime.Pinner) (n namedValue, err error) {
	n.count = 1
	switch x := value.(type) {
	case string:
		n.kind, n.value, n.count = stringValue, uint64(uintptr(cString(x, pin))), uintptr(len(x))
	case int:
		n.kind, n.value = intValue, uint64(x)
	case []int64:
		if len(x) == 0 {
			return n, fmt.Errorf("an empty list")
		}
		pin.Pin(&x[0])
		n.kind, n.value, n.count = intsValue, uint64(uintptr(unsafe.Pointer(&x[0]))), uintptr(len(x))
	case float32:
		n.kind, n.value = floatValue, uint64(math.Float32bits(x))
	case bool:
		n.kind = boolValue
		if x {
			n.value = 1
		}
	default:
		return n, fmt.Errorf("a value of type %T: want string, int, []int64, float32 or bool", value)
	}
	return n, nil
}

// cString returns a pinned copy of s with a zero after it.
func cString(s string, pin *runtime.Pinner) unsafe.Pointer {
	b := append([]byte(s), 0)
	pin.Pin(&b[0])
	return unsafe.Pointer(&b[0])
}

// readValues copies an array of the plugin's. Each element says its own size.
func readValues(address, count uintptr) map[string]any {
	all := make(map[string]any, count)
	for range count {
		v := at[namedValue](address)
		name := copyText(uintptr(v.name), v.nameSize)
		switch v.kind {
		case stringValue:
			all[name] = copyText(uintptr(v.value), v.count)
		case intValue:
			all[name] = int64(v.value)
		case intsValue:
			all[name] = slices.Clone(unsafe.Slice(at[int64](uintptr(v.value)), v.count))
		case floatValue:
			all[name] = math.Float32frombits(uint32(v.value))
		case boolValue:
			all[name] = v.value&0xff != 0
		}
		address += max(v.size, unsafe.Sizeof(namedValue{}))
	}
	return all
}
