package hdf5

import "math/bits"

// Types of records of a B-tree of version 2.
const (
	linkNameRecord      = 5
	attributeNameRecord = 8
)

// dense calls each with every link or attribute of an object that keeps them in a fractal
// heap. A B-tree of version 2, the index, lists them.
func (f *File) dense(heap, index, kind uint64, each func(data []byte) error) error {
	h, err := f.openHeap(heap)
	if err != nil {
		return err
	}
	return f.walkIndex(index, kind, func(record []byte) error {
		if kind == linkNameRecord && len(record) >= 4 {
			record = record[4:] // the name's hash
		}
		if len(record) < h.idBytes {
			return formatError("B-tree: record of %d bytes, want an identifier of %d", len(record), h.idBytes)
		}
		data, err := h.object(record[:h.idBytes])
		if err != nil {
			return err
		}
		return each(data)
	})
}

// indexTree is a B-tree of version 2.
type indexTree struct {
	f            *File
	node, record uint64 // bytes of each
	// capacity[d] is the number of records that a node of depth d has room for, total[d]
	// the number in it and under it. Leaves have depth 0.
	capacity, total []uint64
}

// walkIndex calls each with every record of a B-tree of version 2.
func (f *File) walkIndex(at, kind uint64, each func(record []byte) error) error {
	c, err := f.signed(at, uint64(16+f.width+2+f.length), "BTHD", "B-tree")
	if err != nil {
		return err
	}
	version, found := c.uint(1), c.uint(1)
	t := &indexTree{f: f, node: c.uint(4), record: c.uint(2)}
	depth := int(c.uint(2))
	c.skip(2)
	root, records := f.address(c), c.uint(2)
	if version != 0 || found != kind {
		return formatError("B-tree at byte %d: version %d, records of type %d, want version 0, type %d", at, version, found, kind)
	}
	if t.record == 0 || t.node < 10+t.record || depth > 16 {
		return formatError("B-tree at byte %d: nodes of %d bytes, records of %d, depth %d", at, t.node, t.record, depth)
	}
	if root == undefined {
		return nil
	}
	if err := t.computeCapacities(at, depth); err != nil {
		return err
	}
	return t.walk(root, records, depth, each)
}

// computeCapacities computes the capacities of nodes up to a depth.
func (t *indexTree) computeCapacities(at uint64, depth int) error {
	leaf := (t.node - 10) / t.record
	t.capacity, t.total = []uint64{leaf}, []uint64{leaf}
	for d := 1; d <= depth; d++ {
		p := uint64(t.pointerBytes(d))
		if t.node < 10+p {
			return formatError("B-tree at byte %d: nodes of %d bytes", at, t.node)
		}
		m := (t.node - 10 - p) / (t.record + p)
		t.capacity = append(t.capacity, m)
		hi, lo := bits.Mul64(m+1, t.total[d-1])
		if hi != 0 || lo > 1<<62 {
			return formatError("B-tree at byte %d: depth %d", at, depth)
		}
		t.total = append(t.total, lo+m)
	}
	return nil
}

// countBytes is the bytes of a child's number of records.
func (t *indexTree) countBytes() int { return encodedBytes(t.capacity[0]) }

// totalBytes is the bytes of the number of records under a child of a node of depth d.
func (t *indexTree) totalBytes(d int) int {
	if d > 1 {
		return encodedBytes(t.total[d-1])
	}
	return 0
}

// pointerBytes is the bytes of a pointer from a node of depth d to a child.
func (t *indexTree) pointerBytes(d int) int { return t.f.width + t.countBytes() + t.totalBytes(d) }

// walk calls each with the records of the node of depth d at an address, then with those
// under it.
func (t *indexTree) walk(at, records uint64, d int, each func(record []byte) error) error {
	signature, size := "BTLF", 6+records*t.record
	if d > 0 {
		signature, size = "BTIN", 6+records*t.record+(records+1)*uint64(t.pointerBytes(d))
	}
	if records > t.capacity[d] {
		return formatError("B-tree node at byte %d: %d records, room for %d", at, records, t.capacity[d])
	}
	c, err := t.f.signed(at, size, signature, "B-tree node")
	if err != nil {
		return err
	}
	c.skip(2)
	for range records {
		if err := each(c.bytes(int(t.record))); err != nil {
			return err
		}
	}
	if d == 0 {
		return nil
	}
	for range records + 1 {
		child, n := t.f.address(c), c.uint(t.countBytes())
		c.skip(t.totalBytes(d))
		if err := t.walk(child, n, d-1, each); err != nil {
			return err
		}
	}
	return nil
}

// encodedBytes is the bytes that numbers up to n are encoded in.
func encodedBytes(n uint64) int { return max(1, (bits.Len64(n)+7)/8) }

// fractalHeap holds objects in blocks whose sizes double from row to row of a table.
type fractalHeap struct {
	f                  *File
	idBytes            int
	offset, length     int // bytes of an object's offset and length
	columns            uint64
	smallest, largest  uint64 // bytes of a direct block
	rows               uint64 // of the root; 0 if it is a direct block
	root               uint64
	header             uint64
	indirect, contents map[uint64][]byte
}

func (f *File) openHeap(at uint64) (*fractalHeap, error) {
	n := 22 + 12*f.length + 3*f.width
	c, err := f.signed(at, uint64(n), "FRHP", "fractal heap")
	if err != nil {
		return nil, err
	}
	h := &fractalHeap{f: f, header: at, indirect: make(map[uint64][]byte), contents: make(map[uint64][]byte)}
	version := c.uint(1)
	h.idBytes = int(c.uint(2))
	filters := c.uint(2)
	c.skip(1)
	managed := c.uint(4)
	c.skip(f.length + f.width + f.length + f.width + 8*f.length)
	h.columns = c.uint(2)
	h.smallest, h.largest = c.uint(f.length), c.uint(f.length)
	width := c.uint(2) // of the heap's addresses, in bits
	c.skip(2)
	h.root, h.rows = f.address(c), c.uint(2)
	power := func(n uint64) bool { return n != 0 && n&(n-1) == 0 }
	switch {
	case c.short || version != 0:
		return nil, formatError("fractal heap at byte %d: version %d, want 0", at, version)
	case filters != 0:
		return nil, formatError("fractal heap at byte %d: filtered, want plain", at)
	case !power(h.columns) || !power(h.smallest) || !power(h.largest) || h.smallest > h.largest || h.largest > 1<<32 ||
		width == 0 || width > 64 || h.rows > 64:
		return nil, formatError("fractal heap at byte %d: blocks of %d to %d bytes in %d columns and %d rows", at, h.smallest, h.largest, h.columns, h.rows)
	}
	h.offset = int(width+7) / 8
	h.length = min((bits.Len64(h.largest)+6)/8, encodedBytes(managed))
	if h.idBytes < 1+h.offset+h.length {
		return nil, formatError("fractal heap at byte %d: identifiers of %d bytes, want %d", at, h.idBytes, 1+h.offset+h.length)
	}
	return h, nil
}

// object returns the object that has an identifier.
func (h *fractalHeap) object(id []byte) ([]byte, error) {
	c := &cursor{b: id}
	switch kind := c.uint(1) >> 4; kind {
	case 0: // managed
		offset, length := c.uint(h.offset), c.uint(h.length)
		return h.managed(offset, length)
	case 2: // tiny: in the identifier itself
		n := int(id[0]&0x0f) + 1
		if h.idBytes > 18 {
			n = int(id[0]&0x0f)<<8 + int(c.uint(1)) + 1
		}
		data := c.bytes(n)
		if c.short {
			return nil, formatError("fractal heap at byte %d: tiny object of %d bytes", h.header, n)
		}
		return data, nil
	default:
		return nil, formatError("fractal heap at byte %d: object of kind %d, want managed or tiny", h.header, kind)
	}
}

// managed returns the object at an offset of the heap's own addresses.
func (h *fractalHeap) managed(offset, length uint64) ([]byte, error) {
	at, size := h.root, h.smallest
	if h.rows == 0 {
		return h.direct(at, size, offset, length)
	}
	// Each step goes to a block that is at most as large as the table before it, so the
	// loop ends.
	rows := h.rows
	direct := uint64(bits.Len64(h.largest/h.smallest)) + 1 // rows of direct blocks
	for {
		first := h.smallest * h.columns // bytes of the first row, and of the second
		row, begin := uint64(0), uint64(0)
		size = h.smallest
		if offset >= first {
			row = uint64(bits.Len64(offset / first))
			begin = first << (row - 1)
			size = h.smallest << (row - 1)
		}
		if row >= rows || row > 40 {
			return nil, formatError("fractal heap at byte %d: no object at %d", h.header, offset)
		}
		column := (offset - begin) / size
		children, err := h.children(at, rows)
		if err != nil {
			return nil, err
		}
		c := &cursor{b: children[(row*h.columns+column)*uint64(h.f.width):]}
		at = h.f.address(c)
		offset -= begin + column*size
		if row < direct {
			return h.direct(at, size, offset, length)
		}
		rows = uint64(bits.Len64(size / first)) // of the indirect block's own table
		if size < first || rows == 0 || size >= h.smallest<<40 {
			return nil, formatError("fractal heap at byte %d: no object at %d", h.header, offset)
		}
	}
}

// children returns the addresses in the indirect block of that many rows.
func (h *fractalHeap) children(at, rows uint64) ([]byte, error) {
	if b, ok := h.indirect[at]; ok && uint64(len(b)) >= rows*h.columns*uint64(h.f.width) {
		return b, nil
	}
	prefix := uint64(5 + h.f.width + h.offset)
	c, err := h.f.signed(at, prefix+rows*h.columns*uint64(h.f.width), "FHIB", "fractal heap's indirect block")
	if err != nil {
		return nil, err
	}
	c.skip(int(prefix) - 4)
	h.indirect[at] = c.b
	return c.b, nil
}

// direct returns length bytes at an offset in a direct block.
func (h *fractalHeap) direct(at, size, offset, length uint64) ([]byte, error) {
	if offset > size || length > size-offset {
		return nil, formatError("fractal heap at byte %d: object of %d bytes at %d of a block of %d", h.header, length, offset, size)
	}
	b, ok := h.contents[at]
	if !ok || uint64(len(b)) < size {
		c, err := h.f.block(at, size, "fractal heap's block")
		if err != nil {
			return nil, err
		}
		b = c.b
		if string(b[:min(4, len(b))]) != "FHDB" {
			return nil, formatError("fractal heap's block at byte %d: signature %q, want %q", at, b[:min(4, len(b))], "FHDB")
		}
		h.contents[at] = b
	}
	return b[offset : offset+length], nil
}
