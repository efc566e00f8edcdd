package hdf5

import "bytes"

// Strings returns the strings of an attribute, of fixed or variable length: one for a
// scalar, and none for an attribute without elements, whatever its type. found reports
// whether the object has the attribute.
func (o *Object) Strings(name string) (values []string, found bool, err error) {
	a, err := o.attribute(name)
	if a == nil || err != nil {
		return nil, false, within(err, "attribute %s", name)
	}
	values, err = a.strings(o.f)
	return values, true, within(err, "attribute %s", name)
}

// HasAttribute reports whether the object has an attribute of that name.
func (o *Object) HasAttribute(name string) (bool, error) {
	a, err := o.attribute(name)
	return a != nil, within(err, "attribute %s", name)
}

// attribute is an attribute's elements as they are in the file.
type attribute struct {
	kind  Type
	shape []int
	data  []byte
}

// attribute returns the attribute of that name, nil if there is none.
func (o *Object) attribute(name string) (*attribute, error) {
	var found *attribute
	look := func(data []byte) error {
		if found != nil {
			return nil
		}
		c, err := attributeNamed(data, name)
		if c == nil || err != nil {
			return err
		}
		found, err = o.f.parseAttribute(c)
		return err
	}
	for _, m := range o.messages {
		if m.kind == messageAttribute && !m.shared {
			if err := look(m.data); err != nil {
				return nil, err
			}
		}
	}
	info, err := o.message(messageAttributeInfo)
	if info == nil || err != nil || found != nil {
		return found, err
	}
	version, flags := info.uint(1), info.uint(1)
	if version != 0 {
		return nil, formatError("attribute info of version %d, want 0", version)
	}
	if flags&1 != 0 {
		info.skip(2)
	}
	heap, index := o.f.address(info), o.f.address(info)
	if info.short {
		return nil, formatError("attribute info: truncated")
	}
	if heap == undefined {
		return nil, nil
	}
	err = o.f.dense(heap, index, attributeNameRecord, look)
	return found, err
}

// attributeMessage is an attribute message after its name.
type attributeMessage struct {
	*cursor
	kind, space int // bytes of the descriptions
	padded      bool
}

// attributeNamed opens an attribute message. It returns nil if the attribute has another
// name.
func attributeNamed(data []byte, want string) (*attributeMessage, error) {
	m := &attributeMessage{cursor: &cursor{b: data}}
	version, flags := m.uint(1), m.uint(1)
	name := int(m.uint(2))
	m.kind, m.space = int(m.uint(2)), int(m.uint(2))
	switch version {
	case 1:
		m.padded, flags = true, 0
	case 2:
	case 3:
		m.skip(1) // character set
	default:
		return nil, formatError("attribute message of version %d, want 1 to 3", version)
	}
	text := m.part(name)
	if m.short {
		return nil, formatError("attribute message: truncated")
	}
	if string(bytes.TrimRight(text, "\x00")) != want {
		return nil, nil
	}
	if flags != 0 {
		return nil, formatError("a shared type, want it in place")
	}
	return m, nil
}

// part reads n bytes and, in the old version, the padding after them.
func (m *attributeMessage) part(n int) []byte {
	b := m.bytes(n)
	if m.padded {
		m.skip(-n & 7)
	}
	return b
}

func (f *File) parseAttribute(m *attributeMessage) (*attribute, error) {
	kind, err := parseType(&cursor{b: m.part(m.kind)})
	if err != nil {
		return nil, err
	}
	shape, err := parseSpace(&cursor{b: m.part(m.space)}, f.length)
	if err != nil {
		return nil, err
	}
	size, err := elements(shape, kind.Size)
	if err != nil {
		return nil, err
	}
	if m.short || size > int64(m.left()) {
		return nil, formatError("%d bytes of elements, %d follow", size, m.left())
	}
	return &attribute{kind, shape, m.bytes(int(size))}, nil
}

func (a *attribute) strings(f *File) ([]string, error) {
	var all []string
	for b := a.data; len(b) > 0; b = b[a.kind.Size:] {
		element := b[:a.kind.Size]
		switch a.kind.Name {
		case "string":
			switch a.kind.padding {
			case 0:
				if end := bytes.IndexByte(element, 0); end >= 0 {
					element = element[:end]
				}
			case 1:
				element = bytes.TrimRight(element, "\x00")
			default:
				element = bytes.TrimRight(element, " ")
			}
		case "varstring":
			c := &cursor{b: element}
			length := c.uint(4)
			text, err := f.heapObject(f.address(c), uint16(c.uint(4)))
			if err != nil {
				return nil, err
			}
			if c.short || length > uint64(len(text)) {
				return nil, formatError("a string of %d bytes, %d are there", length, len(text))
			}
			element = text[:length]
		default:
			return nil, formatError("type %s, want strings", a.kind.Name)
		}
		if err := f.spend(int64(len(element)) + 16); err != nil {
			return nil, err
		}
		all = append(all, string(element))
	}
	return all, nil
}

// heapObject returns an object of a global heap collection. The empty string is in none.
func (f *File) heapObject(at uint64, index uint16) ([]byte, error) {
	if at == 0 || at == undefined {
		return nil, nil
	}
	if _, ok := f.heaps[at]; !ok {
		objects, err := f.readHeap(at)
		if err != nil {
			return nil, err
		}
		f.heaps[at] = objects
	}
	object, ok := f.heaps[at][index]
	if !ok {
		return nil, formatError("global heap at byte %d: no object %d", at, index)
	}
	return object, nil
}

func (f *File) readHeap(at uint64) (map[uint16][]byte, error) {
	prefix := 8 + f.length
	c, err := f.signed(at, uint64(prefix), "GCOL", "global heap")
	if err != nil {
		return nil, err
	}
	c.skip(4)
	size := c.uint(f.length)
	if size < uint64(prefix) {
		return nil, formatError("global heap at byte %d: %d bytes", at, size)
	}
	if c, err = f.block(at+uint64(prefix), size-uint64(prefix), "global heap"); err != nil {
		return nil, err
	}
	objects := make(map[uint16][]byte)
	for c.left() >= prefix {
		index := uint16(c.uint(2))
		c.skip(6)
		n := c.uint(f.length)
		if index == 0 {
			break // the rest is free
		}
		if n > uint64(c.left()) {
			return nil, formatError("global heap at byte %d: object %d of %d bytes", at, index, n)
		}
		objects[index] = c.bytes(int(n))
		c.skip(min(-int(n)&7, c.left()))
	}
	return objects, nil
}
