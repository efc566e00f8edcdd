package weights

import (
	"bufio"
	"encoding/binary"
	"io"
	"strconv"
	"strings"
)

func (u *unpickler) byte() (byte, error) {
	b, err := u.in.ReadByte()
	if err != nil {
		return 0, u.short(err)
	}
	u.at++
	return b, nil
}

// bytes reads n bytes, of which there must be as many before any memory is taken for
// them.
func (u *unpickler) bytes(n int64) ([]byte, error) {
	if n < 0 || n > u.size-u.at {
		return nil, malformed("", "%d bytes claimed, %d follow", uint64(n), u.size-u.at)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(u.in, b)
	if err != nil {
		return nil, u.short(err)
	}
	u.at += n
	u.spent += n
	return b, nil
}

// uint reads a little-endian number; one of eight bytes may be negative as int64.
func (u *unpickler) uint(width int) (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(u.in, b[:width]); err != nil {
		return 0, u.short(err)
	}
	u.at += int64(width)
	return int64(binary.LittleEndian.Uint64(b[:])), nil
}

// line reads up to a newline, which is dropped.
func (u *unpickler) line(most int) (string, error) {
	var line []byte
	for {
		part, err := u.in.ReadSlice('\n')
		u.at += int64(len(part))
		line = append(line, part...)
		switch {
		case err == nil:
			u.spent += int64(len(line))
			return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
		case err != bufio.ErrBufferFull:
			return "", u.short(err)
		case len(line) > most:
			return "", malformed("", "line of over %d bytes", most)
		}
	}
}

func (u *unpickler) decimal() (int64, error) {
	s, err := u.line(maxGlobalName)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, malformed("", "number %s", display(s))
	}
	return n, nil
}

// short turns the file's end, or the most that is read of a pickle, into an error.
func (u *unpickler) short(err error) error {
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	if u.size == maxPickle {
		return malformed("", "over %d bytes", maxPickle)
	}
	return malformed("", "truncated: no end after %d bytes", u.at)
}

// counted reads the bytes of an opcode that has their number before them: in one byte,
// in four, or else in eight.
func (u *unpickler) counted(op byte, one, four string) ([]byte, error) {
	width := 8
	switch {
	case strings.IndexByte(one, op) >= 0:
		width = 1
	case strings.IndexByte(four, op) >= 0:
		width = 4
	}
	n, err := u.uint(width)
	if err != nil {
		return nil, err
	}
	return u.bytes(n)
}
