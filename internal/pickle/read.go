package pickle

import (
	"bufio"
	"encoding/binary"
	"io"
	"strconv"
	"strings"
)

// byte reads one byte.
func (m *machine) byte() (byte, error) {
	b, err := m.in.ReadByte()
	if err != nil {
		return 0, m.short(err)
	}
	m.at++
	return b, nil
}

// bytes reads n bytes. It takes memory for them only where as many are there.
func (m *machine) bytes(n int64) ([]byte, error) {
	if n < 0 || n > m.size-m.at {
		return nil, Errorf("%d bytes claimed, %d follow", uint64(n), m.size-m.at)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(m.in, b); err != nil {
		return nil, m.short(err)
	}
	m.at += n
	m.spent += n
	return b, nil
}

// uint reads a little-endian number; one of eight bytes may be negative as int64.
func (m *machine) uint(width int) (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(m.in, b[:width]); err != nil {
		return 0, m.short(err)
	}
	m.at += int64(width)
	return int64(binary.LittleEndian.Uint64(b[:])), nil
}

// line reads up to a newline, which is dropped.
func (m *machine) line(most int) (string, error) {
	var line []byte
	for {
		part, err := m.in.ReadSlice('\n')
		m.at += int64(len(part))
		line = append(line, part...)
		switch {
		case err == nil:
			m.spent += int64(len(line))
			return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
		case err != bufio.ErrBufferFull:
			return "", m.short(err)
		case len(line) > most:
			return "", Errorf("line of over %d bytes", most)
		}
	}
}

// decimal reads a line of digits.
func (m *machine) decimal() (int64, error) {
	s, err := m.line(maxNameLength)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, Errorf("number %s", printable(s))
	}
	return n, nil
}

// short returns the error of a pickle that ends too early, where err is the end.
func (m *machine) short(err error) error {
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	if m.size == maxLength {
		return Errorf("over %d bytes", maxLength)
	}
	return Errorf("truncated: no end after %d bytes", m.at)
}
