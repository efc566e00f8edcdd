package hdf5

import "math"

// Type is the type of the elements of a dataset or an attribute.
type Type struct {
	// Name is float16, bfloat16, float32, float64, int8 … int64, uint8 … uint64, bool,
	// string, varstring, reference (to an object), or opaque for any other type.
	Name string
	// Size is the bytes of an element in the file.
	Size      int
	BigEndian bool

	padding uint64 // of a string: 0 ends in NUL, 1 is padded with NUL, 2 with spaces
}

// maxElement is the most bytes that an element may have. An attribute's element, such
// as a string, fits in an object header.
const maxElement = 1 << 20

func parseType(c *cursor) (Type, error) {
	head, flags, size := c.uint(1), c.uint(3), c.uint(4)
	if c.short {
		return Type{}, formatError("datatype: truncated")
	}
	if size == 0 || size > maxElement {
		return Type{}, formatError("datatype: elements of %d bytes, want 1 to %d", size, maxElement)
	}
	t := Type{Name: "opaque", Size: int(size)}
	switch head & 0x0f {
	case 0: // fixed-point
		t.BigEndian = flags&1 != 0
		offset, precision := c.uint(2), c.uint(2)
		name, ok := map[uint64]string{1: "int8", 2: "int16", 4: "int32", 8: "int64"}[size]
		if ok && !c.short && offset == 0 && precision == 8*size {
			if flags&0x08 == 0 {
				name = "u" + name
			}
			t.Name = name
		}
	case 1: // floating-point
		t.BigEndian = flags&1 != 0
		layout := [7]uint64{c.uint(2), c.uint(2), c.uint(1), c.uint(1), c.uint(1), c.uint(1), c.uint(4)}
		sign := flags >> 8 & 0xff
		for name, want := range map[string][7]uint64{
			// bit offset, precision, offset and size of the exponent, offset and size of
			// the mantissa, bias of the exponent
			"float16":  {0, 16, 10, 5, 0, 10, 15},
			"bfloat16": {0, 16, 7, 8, 0, 7, 127},
			"float32":  {0, 32, 23, 8, 0, 23, 127},
			"float64":  {0, 64, 52, 11, 0, 52, 1023},
		} {
			if layout == want && 8*size == want[1] && sign == want[1]-1 && flags&0x40 == 0 {
				t.Name = name
			}
		}
	case 3: // string
		t.Name, t.padding = "string", flags&0x0f
	case 7: // reference
		if flags&0x0f == 0 {
			t.Name = "reference"
		}
	case 8: // enumeration, in which h5py writes booleans
		base, err := parseType(c)
		if err == nil && base.Size == 1 {
			t.Name = "bool"
		}
	case 9: // variable length
		if flags&0x0f == 1 {
			t.Name = "varstring"
		}
	}
	return t, nil
}

// parseSpace reads a dataspace: the lengths of the axes, none for a scalar. A null
// dataspace, which has no elements, is one axis of length 0.
func parseSpace(c *cursor, length int) ([]int, error) {
	version, axes := c.uint(1), int(c.uint(1))
	c.skip(1) // whether the largest axes follow
	kind := uint64(1)
	switch version {
	case 1:
		c.skip(5)
	case 2:
		kind = c.uint(1)
	default:
		return nil, formatError("dataspace of version %d, want 1 or 2", version)
	}
	if axes > 32 {
		return nil, formatError("dataspace of %d axes, want at most 32", axes)
	}
	if kind == 2 {
		return []int{0}, nil
	}
	shape := make([]int, axes)
	for i := range shape {
		n := c.uint(length)
		if n > math.MaxInt64 {
			return nil, formatError("dataspace: axis of %d", n)
		}
		shape[i] = int(n)
	}
	if c.short {
		return nil, formatError("dataspace: truncated")
	}
	return shape, nil
}

// elements returns the product of the axes times the bytes of an element.
func elements(shape []int, size int) (int64, error) {
	n := int64(size)
	for _, s := range shape {
		if s == 0 {
			return 0, nil
		}
	}
	for _, s := range shape {
		if n > math.MaxInt64/int64(s) {
			return 0, formatError("shape %v has too many elements", shape)
		}
		n *= int64(s)
	}
	return n, nil
}
