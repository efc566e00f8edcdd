package hdf5

// Types of an object header's messages.
const (
	messageDataspace     = 0x01
	messageLinkInfo      = 0x02
	messageDatatype      = 0x03
	messageLink          = 0x06
	messageLayout        = 0x08
	messageFilters       = 0x0b
	messageAttribute     = 0x0c
	messageContinuation  = 0x10
	messageSymbolTable   = 0x11
	messageAttributeInfo = 0x15
)

// readMessages are the types of messages that this package reads.
var readMessages = map[uint64]bool{
	messageDataspace: true, messageLinkInfo: true, messageDatatype: true, messageLink: true, messageLayout: true, messageFilters: true,
	messageAttribute: true, messageContinuation: true, messageSymbolTable: true, messageAttributeInfo: true,
}

// maxMessages is the most messages of an object: the links or attributes of a group that keeps
// them in its header. HDF5 moves them elsewhere if there are more than some.
const maxMessages = 1 << 17

// Object is a group or a dataset.
type Object struct {
	f        *File
	messages []message
	links    map[string]uint64 // nil until Names reads them
	names    []string
}

// message is a message of an object header.
type message struct {
	kind   uint64
	shared bool // data is only the address of the message
	data   []byte
}

// Root returns the root group.
func (f *File) Root() (*Object, error) {
	o, err := f.object(f.root)
	return o, within(err, "root group")
}

// object reads the header at an address.
func (f *File) object(at uint64) (*Object, error) {
	if o := f.objects[at]; o != nil {
		return o, nil
	}
	o := &Object{f: f}
	c, err := f.block(at, min(16, uint64(f.size)-min(at, uint64(f.size))), "object header")
	if err != nil {
		return nil, err
	}
	if string(c.b[:min(4, len(c.b))]) == "OHDR" {
		err = o.readHeader(at, c)
	} else {
		err = o.readOldHeader(at, c)
	}
	if err != nil {
		return nil, err
	}
	f.objects[at] = o
	return o, nil
}

// readOldHeader reads a header of version 1 that begins with c.
func (o *Object) readOldHeader(at uint64, c *cursor) error {
	version := c.uint(1)
	c.skip(1 + 2 + 4)
	size := c.uint(4)
	if c.short || version != 1 {
		return formatError("object header at byte %d: version %d, want 1 or 2", at, version)
	}
	first, err := o.f.block(at+16, size, "object header")
	if err != nil {
		return err
	}
	blocks := []*cursor{first}
	for len(blocks) > 0 {
		b := blocks[0]
		blocks = blocks[1:]
		for b.left() >= 8 {
			kind, size, flags := b.uint(2), int(b.uint(2)), b.uint(1)
			b.skip(3)
			next, err := o.add(at, kind, flags, b.bytes(size), b.short)
			if err != nil {
				return err
			}
			if next != nil {
				blocks = append(blocks, next)
			}
		}
	}
	return nil
}

// readHeader reads a header of version 2 that begins with c.
func (o *Object) readHeader(at uint64, c *cursor) error {
	c.skip(4)
	version, flags := c.uint(1), c.uint(1)
	if version != 2 {
		return formatError("object header at byte %d: version %d, want 1 or 2", at, version)
	}
	prefix := uint64(6)
	if flags&0x20 != 0 {
		prefix += 16 // times
	}
	if flags&0x10 != 0 {
		prefix += 4 // when attributes move to a heap
	}
	width := uint64(1) << (flags & 3)
	c, err := o.f.block(at+prefix, width, "object header")
	if err != nil {
		return err
	}
	first, err := o.f.block(at+prefix+width, c.uint(int(width)), "object header")
	if err != nil {
		return err
	}
	order := 0
	if flags&0x04 != 0 {
		order = 2
	}
	blocks := []*cursor{first}
	for len(blocks) > 0 {
		b := blocks[0]
		blocks = blocks[1:]
		for b.left() >= 4+order {
			kind, size, flags := b.uint(1), int(b.uint(2)), b.uint(1)
			b.skip(order)
			next, err := o.add(at, kind, flags, b.bytes(size), b.short)
			if err != nil {
				return err
			}
			if next == nil {
				continue
			}
			if string(next.bytes(4)) != "OCHK" || next.left() < 4 {
				return formatError("object header at byte %d: continued without a signature", at)
			}
			next.b = next.b[:len(next.b)-4] // checksum
			blocks = append(blocks, next)
		}
	}
	return nil
}

// add adds a message to the object. If the message continues the header, it returns the
// block that follows.
func (o *Object) add(at, kind, flags uint64, data []byte, short bool) (*cursor, error) {
	if short {
		return nil, formatError("object header at byte %d: message of type %#x ends after its block", at, kind)
	}
	if !readMessages[kind] {
		return nil, nil
	}
	if kind != messageContinuation {
		if len(o.messages) == maxMessages {
			return nil, formatError("object header at byte %d: more than %d messages", at, maxMessages)
		}
		o.messages = append(o.messages, message{kind, flags&0x02 != 0, data})
		return nil, nil
	}
	c := &cursor{b: data}
	where, size := o.f.address(c), c.uint(o.f.length)
	if size == 0 {
		// A chain of empty blocks would use up no budget and never end.
		return nil, formatError("object header at byte %d: continued in an empty block", at)
	}
	return o.f.block(where, size, "object header's continuation")
}

// message returns the object's first message of a kind, nil if there is none.
func (o *Object) message(kind uint64) (*cursor, error) {
	for _, m := range o.messages {
		if m.kind == kind {
			if m.shared {
				return nil, formatError("message of type %#x: a shared one, want it in place", kind)
			}
			return &cursor{b: m.data}, nil
		}
	}
	return nil, nil
}

// IsDataset reports whether the object is a dataset.
func (o *Object) IsDataset() bool {
	for _, m := range o.messages {
		if m.kind == messageLayout {
			return true
		}
	}
	return false
}

// Child returns the object that a group has under a name. It is a *FormatError if
// there is none.
func (o *Object) Child(name string) (*Object, error) {
	if _, err := o.Names(); err != nil {
		return nil, err
	}
	at, ok := o.links[name]
	if !ok {
		return nil, formatError("%q: not there", name)
	}
	child, err := o.f.object(at)
	return child, within(err, "%q", name)
}

// Has reports whether a group has an object of that name.
func (o *Object) Has(name string) (bool, error) {
	_, err := o.Names()
	_, ok := o.links[name]
	return ok, err
}
