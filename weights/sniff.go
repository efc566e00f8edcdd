package weights

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// sniffBytes is the number of bytes at the beginning of a file that sniff looks at.
const sniffBytes = 512

// sniff returns the length of the header of a safetensors file that begins with b, its
// first sniffBytes or all of it. The length is as the file claims, unchecked. If the file
// is no safetensors file, the error says what it looks like.
func sniff(b []byte) (uint64, error) {
	if len(b) == 0 {
		return 0, malformed("", "empty file")
	}
	// A possible length and a brace are safetensors, even if the length happens to be
	// another format's magic number.
	brace := len(b) > lengthBytes && b[lengthBytes] == '{'
	if brace && headerLength(b) <= maxHeader {
		return headerLength(b), nil
	}
	if found := otherFormat(b); found != "" {
		return 0, &UnsupportedError{Found: found}
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
		return 0, &UnsupportedError{Found: fmt.Sprintf("an unknown format (as safetensors, a header of %d bytes)", length)}
	}
}

// otherFormat returns the name of the format of a file that begins with b, "" if unknown.
func otherFormat(b []byte) string {
	for _, f := range []struct {
		at    int
		magic string
		name  string
	}{
		{0, "\x93NUMPY", "a NumPy array (.npy)"},
		{0, "MATLAB 5.0 MAT-file", "a MATLAB file (MatConvNet .mat; scipy.io.loadmat and numpy.savez make an .npz of it)"},
		{0, "\x80\x02", "a Python pickle that isn't torch.save's"},
		{0, "\x80\x03", "a Python pickle that isn't torch.save's"},
		{0, "\x80\x04", "a Python pickle that isn't torch.save's"},
		{0, "\x80\x05", "a Python pickle that isn't torch.save's"},
		{0, "\x1f\x8b", "a gzip file"},
		{0, "GGUF", "a GGUF file"},
		{0, "\xff\xd8\xff", "a JPEG image"},
		{0, "\x89PNG", "a PNG image"},
		{257, "ustar", "a tar archive"},
		{0, "version https://git-lfs", "a Git LFS pointer in place of the file (git lfs pull fetches it)"},
	} {
		if len(b) >= f.at && bytes.HasPrefix(b[f.at:], []byte(f.magic)) {
			return f.name
		}
	}
	switch {
	case bytes.HasPrefix(b, []byte("PK\x03\x04")):
		return "a zip archive that holds no weights"
	}
	start := bytes.ToLower(bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))))
	switch {
	case !isText(b):
		return ""
	case bytes.HasPrefix(start, []byte("<!doctype html")), bytes.HasPrefix(start, []byte("<html")):
		return "an HTML page in place of the file"
	case bytes.HasPrefix(start, []byte("{")):
		return "JSON text"
	}
	return "text"
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
