package weights

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// parseHeader reads the JSON of a safetensors header,
//
//	{"__metadata__": {"key": "value", ...},
//	 "name": {"dtype": "F32", "shape": [64, 3, 3, 3], "data_offsets": [0, 6912]}, ...}
//
// It reads nothing more general: values don't nest deeper, so neither does the parser. A
// key that comes twice is an error, where encoding/json keeps the last. The offsets of the
// entries are as written. s must be valid UTF-8.
func parseHeader(s string, h *header) error {
	p := &parser{s: s}
	seen := make(map[string]bool)
	err := p.object(func(key string) error {
		if seen[key] {
			return malformed(key, "name given twice")
		}
		seen[key] = true
		if key == metadataKey {
			return p.metadata(h)
		}
		e, err := p.entry(key)
		h.entries = append(h.entries, e)
		return err
	})
	if err != nil {
		return err
	}
	p.space()
	if p.i < len(s) {
		return p.unexpected("the header's end")
	}
	return nil
}

// parser reads JSON from byte i of s on.
type parser struct {
	s string
	i int
}

// metadata reads the value of __metadata__.
func (p *parser) metadata(h *header) error {
	// The reference implementation takes null for no metadata.
	if p.space(); strings.HasPrefix(p.s[p.i:], "null") {
		p.i += len("null")
		return nil
	}
	h.meta = make(map[string]string)
	return p.object(func(key string) error {
		if _, ok := h.meta[key]; ok {
			return malformed("", "metadata: key %s given twice", display(key))
		}
		if len(h.meta) == maxMetadata {
			return malformed("", "metadata of more than %d keys", maxMetadata)
		}
		value, err := p.str()
		h.meta[key] = value
		return err
	})
}

// entry reads the description of a tensor.
func (p *parser) entry(name string) (entry, error) {
	e := entry{Entry: Entry{Name: name, Shape: []int{}}}
	var dtype, shape, offsets bool
	err := p.object(func(key string) (err error) {
		switch {
		case key == "dtype" && !dtype:
			dtype = true
			e.DType, err = p.str()
		case key == "shape" && !shape:
			shape = true
			err = p.array(func(int) error {
				if len(e.Shape) == maxAxes {
					return malformed(name, "more than %d axes", maxAxes)
				}
				n, err := p.integer()
				if err == nil && n > math.MaxInt {
					err = malformed(name, "axis of length %d, want at most %d", n, math.MaxInt)
				}
				e.Shape = append(e.Shape, int(n))
				return err
			})
		case key == "data_offsets" && !offsets:
			offsets = true
			count := 0
			err = p.array(func(i int) error {
				count++
				n, err := p.integer()
				switch i {
				case 0:
					e.begin = n
				case 1:
					e.end = n
				default:
					return malformed(name, "more than two data_offsets")
				}
				return err
			})
			if err == nil && count != 2 {
				err = malformed(name, "%d data_offsets, want 2", count)
			}
		case key == "dtype", key == "shape", key == "data_offsets":
			return malformed(name, "%s given twice", key)
		default:
			return malformed(name, "unknown key %s", display(key))
		}
		return err
	})
	if err != nil {
		return e, err
	}
	if !dtype || !shape || !offsets {
		return e, malformed(name, "want dtype, shape and data_offsets")
	}
	return e, nil
}

// object reads {"key": value, ...}. It calls value to read the value of each key.
func (p *parser) object(value func(key string) error) error {
	if err := p.expect('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		if p.next('}') {
			return nil
		}
		if !first {
			if err := p.expect(','); err != nil {
				return err
			}
		}
		key, err := p.str()
		if err != nil {
			return err
		}
		if err := p.expect(':'); err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
	}
}

// array reads [element, ...]. It calls element to read element i.
func (p *parser) array(element func(i int) error) error {
	if err := p.expect('['); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if p.next(']') {
			return nil
		}
		if i > 0 {
			if err := p.expect(','); err != nil {
				return err
			}
		}
		if err := element(i); err != nil {
			return err
		}
	}
}

// integer reads a whole number in 0 … 2⁶³-1.
func (p *parser) integer() (int64, error) {
	p.space()
	start := p.i
	n := int64(0)
	for ; p.i < len(p.s) && '0' <= p.s[p.i] && p.s[p.i] <= '9'; p.i++ {
		d := int64(p.s[p.i] - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, p.errorAt(start, "number beyond 2⁶³-1")
		}
		n = 10*n + d
	}
	digits := p.s[start:p.i]
	switch {
	case digits == "":
		return 0, p.unexpected("a whole number, 0 or more")
	case len(digits) > 1 && digits[0] == '0':
		return 0, p.errorAt(start, "number with a leading zero")
	case p.i < len(p.s) && strings.IndexByte(".eE", p.s[p.i]) >= 0:
		return 0, p.errorAt(start, "want a whole number")
	}
	return n, nil
}

// str reads a string. A string without escapes shares the header's memory.
func (p *parser) str() (string, error) {
	if err := p.expect('"'); err != nil {
		return "", err
	}
	start, escaped := p.i, false
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			raw := p.s[start:p.i]
			p.i++
			if !escaped {
				return raw, nil
			}
			s, ok := unescape(raw)
			if !ok {
				return "", p.errorAt(start, "invalid escape in a string")
			}
			return s, nil
		case c == '\\':
			escaped = true
			p.i++
		case c < ' ':
			return "", p.errorAt(p.i, "control character in a string")
		}
	}
	return "", p.errorAt(start, "string without an end")
}

// unescape returns the content of a JSON string without its quotes.
func unescape(raw string) (string, bool) {
	var b strings.Builder
	for {
		i := strings.IndexByte(raw, '\\')
		if i < 0 {
			b.WriteString(raw)
			return b.String(), true
		}
		b.WriteString(raw[:i])
		raw = raw[i+1:]
		if raw == "" {
			return "", false
		}
		c := raw[0]
		if j := strings.IndexByte(`"\/bfnrt`, c); j >= 0 {
			b.WriteByte("\"\\/\b\f\n\r\t"[j])
			raw = raw[1:]
			continue
		}
		r, ok := hex4(raw)
		if !ok {
			return "", false
		}
		raw = raw[5:]
		if utf16.IsSurrogate(r) {
			if !strings.HasPrefix(raw, `\`) {
				return "", false
			}
			low, ok := hex4(raw[1:])
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				return "", false
			}
			raw = raw[6:]
		}
		b.WriteRune(r)
	}
}

// hex4 returns the rune of uXXXX, with which s must begin.
func hex4(s string) (rune, bool) {
	if len(s) < 5 || s[0] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s[1:5]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func (p *parser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\n\r", p.s[p.i]) >= 0 {
		p.i++
	}
}

// next skips space, then c, and reports whether c was there.
func (p *parser) next(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(c byte) error {
	if !p.next(c) {
		return p.unexpected(fmt.Sprintf("%q", c))
	}
	return nil
}

func (p *parser) unexpected(want string) error {
	if p.i >= len(p.s) {
		return p.errorAt(p.i, "header ends, want "+want)
	}
	r, _ := utf8.DecodeRuneInString(p.s[p.i:])
	return p.errorAt(p.i, fmt.Sprintf("found %q, want %s", r, want))
}

func (p *parser) errorAt(i int, reason string) error {
	return malformed("", "header byte %d: %s", i, reason)
}
