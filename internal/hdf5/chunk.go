package hdf5

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/zlib"
	"io"
	"math"
	"slices"
)

// The elements of a compressed dataset may take maxExpansion times the bytes of the file,
// and smallEnough more.
const (
	maxExpansion = 32
	smallEnough  = 1 << 20
)

// chunk is a piece of a dataset in the file.
type chunk struct {
	origin []int // index of its first element
	at     int64
	stored int64 // bytes in the file
	mask   uint64
}

// chunkGrid is the division of a dataset into chunks.
type chunkGrid struct {
	shape   []int // of a chunk
	bytes   int64 // of a chunk
	filters []filter
}

// Filters that this package undoes.
const (
	filterDeflate    = 1
	filterShuffle    = 2
	filterFletcher32 = 3
)

const checksumBytes = 4 // of fletcher32, after the data

type filter struct{ id uint64 }

// readChunks reads the rest of the layout of a dataset in chunks, and their addresses.
func (d *Dataset) readChunks(version uint64, c, filters *cursor) error {
	if err := d.grid.parseFilters(filters); err != nil {
		return err
	}
	flags, width := uint64(0), 4
	if version >= 4 {
		flags = c.uint(1)
	}
	axes := int(c.uint(1))
	index := uint64(undefined)
	if version == 3 {
		index = d.f.address(c)
	} else {
		width = int(c.uint(1))
	}
	if axes != len(d.Shape)+1 || axes < 2 || width < 1 || width > 8 {
		return formatError("chunks of %d axes, want those of shape %v", axes-1, d.Shape)
	}
	d.grid.shape = make([]int, axes-1)
	for i := range d.grid.shape {
		n := c.uint(width)
		if n == 0 || n > math.MaxInt32 {
			return formatError("chunks: axis of %d", n)
		}
		d.grid.shape[i] = int(n)
	}
	element := c.uint(width)
	if c.short {
		return formatError("layout: truncated")
	}
	if element != uint64(d.Type.Size) {
		return formatError("chunks of elements of %d bytes, want %d", element, d.Type.Size)
	}
	var err error
	if d.grid.bytes, err = elements(d.grid.shape, d.Type.Size); err != nil {
		return err
	}
	if d.bytes == 0 {
		d.inline = []byte{}
		return nil
	}
	// Every chunk must be in the file, so the file's size bounds their number.
	count := int64(1)
	for i, n := range d.Shape {
		along := (int64(n) + int64(d.grid.shape[i]) - 1) / int64(d.grid.shape[i])
		if along > d.f.size/count {
			return formatError("more chunks than the file has bytes")
		}
		count *= along
	}
	if limit := maxExpansion*d.f.size + smallEnough; d.grid.bytes > limit/count || d.bytes > limit {
		return formatError("shape %v in chunks of %v is more than %d times the file's %d bytes", d.Shape, d.grid.shape, maxExpansion, d.f.size)
	}
	if version == 3 {
		err = d.readChunkTree(index)
	} else {
		err = d.readChunkIndex(c, flags, count)
	}
	if err != nil {
		return within(err, "chunks")
	}
	return d.checkChunks(count)
}

// parseFilters reads a filter pipeline message.
func (g *chunkGrid) parseFilters(c *cursor) error {
	if c == nil {
		return nil
	}
	version, n := c.uint(1), c.uint(1)
	switch version {
	case 1:
		c.skip(6)
	case 2:
	default:
		return formatError("filter pipeline of version %d, want 1 or 2", version)
	}
	for range n {
		id := c.uint(2)
		name := 0
		if version == 1 || id >= 256 {
			name = int(c.uint(2))
		}
		c.skip(2)
		values := int(c.uint(2))
		if version == 1 {
			name += -name & 7
		}
		c.skip(name)
		c.skip(4 * values)
		if version == 1 && values%2 == 1 {
			c.skip(4)
		}
		if c.short {
			return formatError("filter pipeline: truncated")
		}
		switch id {
		case filterDeflate, filterShuffle, filterFletcher32:
		default:
			return formatError("compressed by filter %d, want deflate, shuffle or fletcher32", id)
		}
		g.filters = append(g.filters, filter{id})
	}
	if len(g.filters) > 4 {
		return formatError("%d filters, want at most 4", len(g.filters))
	}
	return nil
}

// readChunkTree reads the index of layouts of version 3.
func (d *Dataset) readChunkTree(at uint64) error {
	return d.f.walkTree(at, 8+8*(len(d.Shape)+1), func(key []byte, child uint64) error {
		k := &cursor{b: key}
		c := chunk{stored: int64(k.uint(4)), mask: k.uint(4), origin: make([]int, len(d.Shape))}
		for i := range c.origin {
			c.origin[i] = int(min(k.uint(8), math.MaxInt64))
		}
		return d.addChunk(c, child)
	})
}

func (d *Dataset) addChunk(c chunk, at uint64) error {
	if at > uint64(d.f.size) || c.stored < 0 || uint64(c.stored) > uint64(d.f.size)-at {
		return formatError("%d bytes from byte %d on, the file has %d", c.stored, at, d.f.size)
	}
	c.at = int64(at)
	d.chunks = append(d.chunks, c)
	return d.f.spend(int64(16 + 8*len(c.origin)))
}

// readChunkIndex reads the index of a layout of version 4 or 5. It knows the kinds that
// datasets of a fixed shape have.
func (d *Dataset) readChunkIndex(c *cursor, flags uint64, count int64) error {
	switch kind := c.uint(1); kind {
	case 1: // a single chunk
		one := chunk{stored: d.grid.bytes, origin: make([]int, len(d.Shape))}
		if flags&2 != 0 {
			one.stored, one.mask = int64(c.uint(d.f.length)), c.uint(4)
		}
		at := d.f.address(c)
		if c.short {
			return formatError("layout: truncated")
		}
		return d.addChunk(one, at)
	case 2: // implicit: one after the other
		at := d.f.address(c)
		if c.short || len(d.grid.filters) > 0 {
			return formatError("an implicit index with filters")
		}
		for i := range count {
			if err := d.addChunk(chunk{stored: d.grid.bytes, origin: d.origin(i)}, at+uint64(i*d.grid.bytes)); err != nil {
				return err
			}
		}
		return nil
	case 3:
		c.skip(1)
		at := d.f.address(c)
		if c.short {
			return formatError("layout: truncated")
		}
		return d.readFixedArray(at, count)
	default:
		return formatError("an index of kind %d, of an array that can grow: want one of a fixed shape", kind)
	}
}

// origin returns the first element of the chunk of that number in row-major order.
func (d *Dataset) origin(number int64) []int {
	o := make([]int, len(d.Shape))
	for i := range slices.Backward(d.Shape) {
		along := (int64(d.Shape[i]) + int64(d.grid.shape[i]) - 1) / int64(d.grid.shape[i])
		o[i] = int(number%along) * d.grid.shape[i]
		number /= along
	}
	return o
}

// readFixedArray reads the addresses of the chunks from a fixed array. A long one is
// divided into pages.
func (d *Dataset) readFixedArray(at uint64, count int64) error {
	f := d.f
	c, err := f.signed(at, uint64(8+f.length+f.width), "FAHD", "fixed array")
	if err != nil {
		return err
	}
	version, client, entry, page, n := c.uint(1), c.uint(1), c.uint(1), c.uint(1), c.uint(f.length)
	block := f.address(c)
	filtered := len(d.grid.filters) > 0
	size := int(entry) - f.width - 4
	if version != 0 || client > 1 || filtered != (client == 1) || n != uint64(count) || page > 32 ||
		filtered && (size < 1 || size > 8) || !filtered && int(entry) != f.width {
		return formatError("fixed array at byte %d: %d entries of %d bytes, want %d", at, n, entry, count)
	}
	prefix := uint64(6 + f.width)
	pages := uint64(1)
	if perPage := uint64(1) << page; n > perPage {
		pages = (n + perPage - 1) / perPage
		prefix += (pages+7)/8 + 4 // which pages are there, checksum
	}
	if _, err := f.signed(block, prefix, "FADB", "fixed array"); err != nil {
		return err
	}
	next := block + prefix
	for i := int64(0); i < count; {
		inPage := count - i
		if pages > 1 {
			inPage = min(inPage, 1<<page)
		}
		if c, err = f.block(next, uint64(inPage)*entry, "fixed array"); err != nil {
			return err
		}
		next += uint64(inPage)*entry + 4
		for range inPage {
			at := f.address(c)
			piece := chunk{stored: d.grid.bytes, origin: d.origin(i)}
			if filtered {
				piece.stored, piece.mask = int64(min(c.uint(size), math.MaxInt64)), c.uint(4)
			}
			if err := d.addChunk(piece, at); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}

// checkChunks checks that every chunk of the grid is there once.
func (d *Dataset) checkChunks(count int64) error {
	if int64(len(d.chunks)) != count {
		return formatError("%d chunks, want %d", len(d.chunks), count)
	}
	slices.SortFunc(d.chunks, func(a, b chunk) int { return slices.Compare(a.origin, b.origin) })
	stored := int64(0)
	for i, c := range d.chunks {
		if want := d.origin(int64(i)); !slices.Equal(c.origin, want) {
			return formatError("a chunk at %v, want one at %v", c.origin, want)
		}
		if stored += c.stored; stored > d.f.size {
			return formatError("chunks that overlap")
		}
		if len(d.grid.filters) == 0 && c.stored != d.grid.bytes {
			return formatError("the chunk at %v has %d bytes, want %d", c.origin, c.stored, d.grid.bytes)
		}
	}
	return nil
}

// readChunked is ReadAt of a dataset in chunks. A chunk with elements past those that are
// read is kept until they are read, so that reading forwards decompresses each chunk once.
func (d *Dataset) readChunked(b []byte, start int64) error {
	if len(b) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	end := start + int64(len(b))
	step := strides(d.Shape, d.Type.Size)
	band := step[0] * int64(d.grid.shape[0]) // chunks that begin further back end before start
	from, _ := slices.BinarySearchFunc(d.chunks, start-band, func(c chunk, at int64) int { return cmp.Compare(d.first(c, step), at) })
	kept := d.kept
	d.kept = nil
	for i := from; i < len(d.chunks); i++ {
		c := d.chunks[i]
		first, last := d.first(c, step), int64(d.Type.Size)
		if first >= end {
			break
		}
		last += first
		for a := range step {
			last += int64(d.part(c, a)-1) * step[a]
		}
		if last <= start {
			continue
		}
		data, ok := kept[i]
		if !ok {
			var err error
			if data, err = d.undo(c); err != nil {
				return within(err, "chunk at %v", c.origin)
			}
		}
		d.copyRows(b, start, c, data, step)
		if last > end && len(d.grid.filters) > 0 {
			if d.kept == nil {
				d.kept = map[int][]byte{}
			}
			d.kept[i] = data
		}
	}
	return nil
}

// first returns the byte of the dataset at which a chunk begins.
func (d *Dataset) first(c chunk, step []int64) int64 {
	at := int64(0)
	for a, o := range c.origin {
		at += int64(o) * step[a]
	}
	return at
}

// part returns the length along an axis of what a chunk has of the dataset.
func (d *Dataset) part(c chunk, axis int) int {
	return min(d.grid.shape[axis], d.Shape[axis]-c.origin[axis])
}

// copyRows copies from a chunk's data what belongs into b, the bytes of the dataset from
// start on.
func (d *Dataset) copyRows(b []byte, start int64, c chunk, data []byte, step []int64) {
	end, rank := start+int64(len(b)), len(d.Shape)
	inside := strides(d.grid.shape, d.Type.Size)
	run := int64(d.part(c, rank-1)) * int64(d.Type.Size)
	at := d.firstRow(c, start, step)
	for {
		to, from := int64(c.origin[rank-1])*step[rank-1], int64(0)
		for i, n := range at {
			to += int64(c.origin[i]+n) * step[i]
			from += int64(n) * inside[i]
		}
		if to >= end {
			return
		}
		if lo, hi := max(to, start), min(to+run, end); lo < hi {
			copy(b[lo-start:hi-start], data[from+lo-to:])
		}
		i := rank - 2
		for ; i >= 0; i-- {
			if at[i]++; at[i] < d.part(c, i) {
				break
			}
			at[i] = 0
		}
		if i < 0 {
			return
		}
	}
}

// firstRow returns where in a chunk the rows begin that may have bytes from start on: rows
// before it end before start.
func (d *Dataset) firstRow(c chunk, start int64, step []int64) []int {
	at := make([]int, len(d.Shape)-1)
	for i := range at {
		n := int(start/step[i]) - c.origin[i] // along axis i, in the part
		start %= step[i]
		if n < 0 {
			break
		}
		at[i] = min(n, d.part(c, i)-1)
		if at[i] < n {
			break
		}
	}
	return at
}

// undo reads a chunk and undoes its filters, from the last to the first. It inflates
// while it reads, so that an error of the file's reader ends it soon.
func (d *Dataset) undo(c chunk) ([]byte, error) {
	stored := io.NewSectionReader(d.f.r, c.at, c.stored)
	var data []byte // nil before the first filter that changes more than the end
	for i, f := range slices.Backward(d.grid.filters) {
		if c.mask&(1<<i) != 0 {
			continue
		}
		var err error
		switch {
		case f.id == filterFletcher32 && data == nil:
			stored = io.NewSectionReader(d.f.r, c.at, max(0, stored.Size()-checksumBytes))
		case f.id == filterFletcher32:
			data = data[:max(0, len(data)-checksumBytes)]
		case f.id == filterDeflate && data == nil:
			data, err = inflate(stored, stored.Size(), d.grid.bytes+8)
		case f.id == filterDeflate:
			data, err = inflate(bytes.NewReader(data), int64(len(data)), d.grid.bytes+8)
		default:
			if data == nil {
				data, err = readSection(stored)
			}
			data = unshuffle(data, d.Type.Size)
		}
		if err != nil {
			return nil, err
		}
	}
	if data == nil {
		var err error
		if data, err = readSection(stored); err != nil {
			return nil, err
		}
	}
	if int64(len(data)) != d.grid.bytes {
		return nil, formatError("%d bytes, want %d", len(data), d.grid.bytes)
	}
	return data, nil
}

func readSection(s *io.SectionReader) ([]byte, error) {
	data := make([]byte, s.Size())
	return data, readFull(s, data, 0)
}

// inflate undoes deflate of size bytes. It returns at most so many, and takes memory as they
// come.
func inflate(r io.Reader, size, most int64) ([]byte, error) {
	const piece = 64 << 10
	from := &errorKeeper{r: r}
	z, err := zlib.NewReader(bufio.NewReaderSize(from, piece))
	if err != nil {
		return nil, cmp.Or(from.err, formatError("deflate: %v", err))
	}
	out := make([]byte, 0, min(most, 2*size+piece))
	for int64(len(out)) < most {
		if len(out) == cap(out) {
			out = slices.Grow(out, int(min(int64(len(out)), most-int64(len(out)))))
		}
		n, err := z.Read(out[len(out):min(int64(cap(out)), most)])
		out = out[:len(out)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, cmp.Or(from.err, formatError("deflate: %v", err))
		}
	}
	return out, nil
}

// errorKeeper keeps the error of a file's reader apart from those of what it holds.
type errorKeeper struct {
	r   io.Reader
	err error
}

// Read implements [io.Reader].
func (n *errorKeeper) Read(b []byte) (int, error) {
	k, err := n.r.Read(b)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return k, err
}

// unshuffle undoes the shuffle filter, which puts the first bytes of all elements before
// their second bytes, and so on.
func unshuffle(data []byte, size int) []byte {
	const block = 4096 // elements that fit into a cache
	n := len(data) / size
	out := make([]byte, len(data))
	for start := 0; start < n; start += block {
		end := min(start+block, n)
		for j := range size {
			to := start*size + j
			for _, v := range data[j*n+start : j*n+end] {
				out[to] = v
				to += size
			}
		}
	}
	copy(out[n*size:], data[n*size:])
	return out
}
