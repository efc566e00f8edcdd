package matfile

import (
	"encoding/binary"
	"io"
)

// file holds what is left of the file's limits.
type file struct {
	arrays int
	kept   int64
}

// scanner reads data elements one after another, in a file or in a compressed element.
type scanner struct {
	*file
	r      io.ReaderAt
	at     int64
	end    int64
	order  binary.ByteOrder
	inFile bool

	buf   []byte // bytes of r from bufAt on
	bufAt int64
}

// tag is a data element: its data is bytes [begin, end), and next follows the padding.
type tag struct {
	kind             int
	begin, end, next int64
}

func (t tag) length() int64 { return t.end - t.begin }

// bytes returns n bytes at a position. They are valid until the next call.
func (s *scanner) bytes(at, n int64) ([]byte, error) {
	const window = 16 << 10
	if n > s.end-at {
		return nil, formatError("truncated: bytes %d to %d of %d", at, at+n, s.end)
	}
	if at < s.bufAt || at+n > s.bufAt+int64(len(s.buf)) {
		size := max(n, min(window, s.end-at))
		if int64(cap(s.buf)) < size {
			s.buf = make([]byte, size)
		}
		s.buf, s.bufAt = s.buf[:size], at
		if err := readFull(s.r, s.buf, at); err != nil {
			s.buf = s.buf[:0]
			return nil, err
		}
	}
	return s.buf[at-s.bufAt:][:n], nil
}

// tag reads the tag at s.at and goes to what follows its element.
func (s *scanner) tag() (t tag, err error) {
	b, err := s.bytes(s.at, 8)
	if err != nil {
		return t, err
	}
	word, size := s.order.Uint32(b), int64(s.order.Uint32(b[4:]))
	if short := word >> 16; short != 0 { // data of up to four bytes is in the tag
		if short > 4 {
			return t, formatError("byte %d: short element of %d bytes, want at most 4", s.at, short)
		}
		t = tag{int(word & 0xffff), s.at + 4, s.at + 4 + int64(short), s.at + 8}
		s.at = t.next
		return t, nil
	}
	t = tag{kind: int(word), begin: s.at + 8, end: s.at + 8 + size}
	if size > s.end-t.begin {
		return t, formatError("truncated: element of %d bytes at byte %d, %d are left", size, s.at, s.end-t.begin)
	}
	t.next = t.end
	if t.kind != typeCompressed {
		t.next = min(t.end+(-size&7), s.end)
	}
	s.at = t.next
	return t, nil
}

// compressed reads the array in a compressed element.
func (s *scanner) compressed(t tag) (*Array, error) {
	most := inflateRatio*t.length() + inflateSlack
	inner := &scanner{file: s.file, order: s.order, end: most}
	z := &inflated{r: s.r, begin: t.begin, end: t.end, most: most}
	inner.r = z
	defer z.release()
	// The first tag tells the length of all.
	b := make([]byte, 8)
	if err := readFull(z, b, 0); err != nil {
		return nil, formatError("byte %d: compressed element: %v", t.begin, err)
	}
	size := int64(s.order.Uint32(b[4:]))
	if s.order.Uint32(b) != typeMatrix || size > most-8 {
		return nil, formatError("byte %d: compressed element of type %d with %d bytes, want an array of at most %d", t.begin, s.order.Uint32(b), size, most-8)
	}
	z.most = 8 + size
	inner.end = z.most
	first, err := inner.tag()
	if err != nil {
		return nil, err
	}
	a, err := inner.array(first, 0)
	if err == io.ErrUnexpectedEOF {
		err = formatError("byte %d: compressed element ends before its array does", t.begin)
	}
	return a, err
}
