package matfile

import (
	"compress/zlib"
	"io"
	"sync"
)

// tailBytes is how far back in a compressed element one can read without inflating it
// again from the start.
const tailBytes = 512 << 10

// inflated reads a compressed element at any offset. Reading forwards goes on where the
// last read ended, reading further back than its tail starts again.
type inflated struct {
	r          io.ReaderAt
	begin, end int64 // of the element in r
	most       int64 // bytes when inflated

	mu   sync.Mutex
	z    io.ReadCloser // nil before the first read, and after an error
	at   int64         // of z
	tail []byte        // the last bytes that were read, up to at
}

// ReadAt implements [io.ReaderAt].
func (f *inflated) ReadAt(p []byte, at int64) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at < 0 || at > f.most {
		return 0, io.EOF
	}
	if int64(len(p)) > f.most-at {
		n, err := f.read(p[:f.most-at], at)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return f.read(p, at)
}

func (f *inflated) read(p []byte, at int64) (n int, err error) {
	if f.z == nil || at < f.at-int64(len(f.tail)) {
		if f.z != nil {
			f.z.Close()
		}
		f.at, f.tail = 0, f.tail[:0]
		if f.z, err = zlib.NewReader(io.NewSectionReader(f.r, f.begin, f.end-f.begin)); err != nil {
			f.z = nil
			return 0, err
		}
	}
	if at < f.at {
		n = copy(p, f.tail[int64(len(f.tail))-(f.at-at):])
		if n == len(p) {
			return n, nil
		}
	} else if skip := at - f.at; skip > 0 {
		skipped, err := io.CopyN(io.Discard, f.z, skip)
		f.at, f.tail = f.at+skipped, f.tail[:0]
		if err != nil {
			return 0, f.failed(err)
		}
	}
	k, err := io.ReadFull(f.z, p[n:])
	f.at += int64(k)
	f.keep(p[n : n+k])
	if err != nil {
		return n + k, f.failed(err)
	}
	if f.at == f.most {
		// The read that reaches the end checks the checksum.
		if _, err := f.z.Read(make([]byte, 1)); err != nil && err != io.EOF {
			return 0, f.failed(err)
		}
	}
	return n + k, nil
}

// keep appends what was read to the tail.
func (f *inflated) keep(b []byte) {
	if len(b) >= tailBytes {
		f.tail = append(f.tail[:0], b[len(b)-tailBytes:]...)
		return
	}
	if over := len(f.tail) + len(b) - tailBytes; over > 0 {
		f.tail = f.tail[:copy(f.tail, f.tail[over:])]
	}
	f.tail = append(f.tail, b...)
}

// release gives the memory back. Later reads start again.
func (f *inflated) release() {
	if f.z != nil {
		f.z.Close()
	}
	f.z, f.tail = nil, nil
}

func (f *inflated) failed(err error) error {
	f.z.Close()
	f.z, f.tail = nil, f.tail[:0]
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
