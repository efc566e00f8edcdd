package weights

import (
	"io"
	"unicode/utf8"
)

// sniffBytes is the number of bytes at the beginning of a file that sniff looks at.
const sniffBytes = 512

// sniff returns the length of the header of a safetensors file that begins with b, its
// first sniffBytes or all of it. The length is as the file claims, unchecked. If the file,
// of size bytes of r, is no safetensors file, the error says what it looks like.
func sniff(b []byte, r io.ReaderAt, size int64) (uint64, error) {
	if len(b) == 0 {
		return 0, malformed("", "empty file")
	}
	// A possible length and a brace are safetensors, even if the length happens to be
	// another format's magic number.
	brace := len(b) > lengthBytes && b[lengthBytes] == '{'
	if brace && headerLength(b) <= maxHeader {
		return headerLength(b), nil
	}
	if e := otherFormat(b, r, size); e != nil {
		return 0, e
	}
	if len(b) < lengthBytes {
		return 0, malformed("", "truncated: %d bytes, want at least the %d of the header's length", len(b), lengthBytes)
	}
	switch length := headerLength(b); {
	case brace || length == 0 || len(b) == lengthBytes:
		return length, nil
	case length <= maxHeader:
		return 0, malformed("", "header begins with byte %#02x, want %q", b[lengthBytes], '{')
	default:
		return 0, &UnsupportedError{Kind: "unknown", Found: "an unknown format"}
	}
}

// isText reports whether b looks like the beginning of a text: UTF-8 without control
// characters other than spacing. The last rune may be cut off.
func isText(b []byte) bool {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 && (utf8.FullRune(b[i:]) || len(b) < sniffBytes) {
			return false
		}
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' && r != '\f' {
			return false
		}
		i += n
	}
	return len(b) > 0
}
