package weights

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"io"
	"math"
)

// zipEncoder writes a zip file of uncompressed members, front to back.
type zipEncoder struct {
	*zip.Writer
	out  *countingWriter
	last *countingWriter // the member being written; nil before the first
	buf  *bufio.Writer
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func newZipEncoder(w io.Writer) *zipEncoder {
	out := &countingWriter{w: w}
	return &zipEncoder{Writer: zip.NewWriter(out), out: out, buf: bufio.NewWriterSize(nil, chunk)}
}

// member begins a member. Its data begins at a multiple of align bytes, or anywhere if
// that is 0.
func (e *zipEncoder) member(name string, align int64) (io.Writer, error) {
	h := &zip.FileHeader{Name: name, Method: zip.Store}
	if align > 0 {
		if err := e.Flush(); err != nil {
			return nil, err
		}
		const header, field = 30, 4
		at := e.out.n + e.descriptor() + header + int64(len(name)) + field
		padding := (align - at%align) % align
		h.Extra = make([]byte, field+padding)
		copy(h.Extra, "FB") // the field that PyTorch uses for padding
		binary.LittleEndian.PutUint16(h.Extra[2:], uint16(padding))
		for i := range padding {
			h.Extra[field+i] = 'Z'
		}
	}
	w, err := e.CreateHeader(h)
	e.last = &countingWriter{w: w}
	return e.last, err
}

// descriptor is the bytes of the last member's checksum and sizes. zip.Writer writes them
// after the data, when the next member begins.
func (e *zipEncoder) descriptor() int64 {
	switch {
	case e.last == nil:
		return 0
	case e.last.n >= math.MaxUint32:
		return 24
	}
	return 16
}

// text writes a small member.
func (e *zipEncoder) text(name string, align int64, text []byte) error {
	m, err := e.member(name, align)
	if err == nil {
		_, err = m.Write(text)
	}
	return err
}

// tensor writes the elements of s, after head, as a member.
func (e *zipEncoder) tensor(name string, align int64, head []byte, s Source) error {
	m, err := e.member(name, align)
	if err != nil {
		return err
	}
	e.buf.Reset(m)
	e.buf.Write(head) // e.buf keeps the first error
	if err := writeElements(e.buf, s); err != nil {
		return err
	}
	return e.buf.Flush()
}
