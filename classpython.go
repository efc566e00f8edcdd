package vgg

import (
	"encoding/json"
	"strings"
)

// pythonJSON turns the text that Python's str gives for a dict or a list of names into JSON:
// {0: 'cat', 1: "dog's"} into {"0": "cat", "1": "dog's"}. Any other text is returned as it
// is, or as no JSON.
func pythonJSON(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		c := text[0]
		switch {
		case c == '\'' || c == '"':
			name, rest, ok := pythonString(text[1:], c)
			if !ok {
				return ""
			}
			quoted, err := json.Marshal(name)
			if err != nil {
				return ""
			}
			b.Write(quoted)
			text = rest
			continue
		case '0' <= c && c <= '9':
			n := 1
			for n < len(text) && '0' <= text[n] && text[n] <= '9' {
				n++
			}
			if strings.HasPrefix(strings.TrimLeft(text[n:], " "), ":") { // a key
				b.WriteString(`"` + text[:n] + `"`)
			} else {
				b.WriteString(text[:n])
			}
			text = text[n:]
			continue
		}
		b.WriteByte(c)
		text = text[1:]
	}
	return b.String()
}

// pythonString reads the rest of a string that began with that quote.
func pythonString(text string, quote byte) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			return b.String(), text[i+1:], true
		case c == '\\' && i+1 < len(text):
			i++
			to, known := map[byte]string{'\\': "\\", '\'': "'", '"': `"`, 'n': "\n", 't': "\t"}[text[i]]
			if !known {
				return "", "", false
			}
			b.WriteString(to)
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
