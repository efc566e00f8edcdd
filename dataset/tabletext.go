package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

// decodeText returns the text of a file in UTF-8, or in UTF-16 with a byte order mark. Lines
// may end in a carriage return alone, as on early Macs.
func decodeText(data []byte) (string, error) {
	var text string
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		text = decodeUTF16(data[2:], binary.LittleEndian)
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		text = decodeUTF16(data[2:], binary.BigEndian)
	default:
		text = string(bytes.TrimPrefix(data, []byte("\ufeff")))
	}
	if strings.ContainsRune(text, 0) {
		return "", errors.New("zero bytes, want text: in UTF-8, or in UTF-16 with a byte order mark")
	}
	if !strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, "\r", "\n")
	}
	return text, nil
}

func decodeUTF16(data []byte, order binary.ByteOrder) string {
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	return string(utf16.Decode(units))
}

// dividerOf returns what divides the fields of a text's lines: tabs, commas or semicolons,
// the first of these that is in each of the first lines equally often; 0 means blanks.
// Without one that is, commas or tabs in the first line decide.
func dividerOf(name, text string) rune {
	const looked = 20 // lines
	dividers := []rune{'\t', ',', ';'}
	if strings.HasPrefix(strings.ToLower(path.Ext(strings.TrimSuffix(name, ".gz"))), ".tsv") {
		return '\t'
	}
	var lines []string
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
		if len(lines) == looked {
			break
		}
	}
	if len(lines) == 0 {
		return 0
	}
	for _, d := range dividers {
		n := dividersIn(lines[0], d)
		if n > 0 && !slices.ContainsFunc(lines, func(line string) bool { return dividersIn(line, d) != n }) {
			return d
		}
	}
	for _, d := range []rune{',', '\t'} {
		if dividersIn(lines[0], d) > 0 {
			return d
		}
	}
	return 0
}

// dividersIn counts a character outside quotes.
func dividersIn(line string, divider rune) int {
	n, quoted := 0, false
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
		case r == divider && !quoted:
			n++
		}
	}
	return n
}
