// Package boundedjson decodes JSON texts of other people's files, whose memory it bounds.
//
// A text of two bytes an element, [0,0,0,…], would take a struct for each when decoded into
// a slice of structs: some hundred times the text. Texts that describe networks, classes or
// preprocessing have some thousand elements.
package boundedjson

import (
	"encoding/json"
	"fmt"
)

const (
	// maxBytes is the most that a text may have.
	maxBytes = 16 << 20
	// maxValues is the most values, in all objects and lists of a text.
	maxValues = 1 << 18
	// maxLevels is the most objects and lists that may be in one another.
	maxLevels = 100
)

// limitError is the error for a text beyond a limit.
type limitError struct {
	What string // "bytes", "values" or "levels"
	Most int
}

func (e *limitError) Error() string { return fmt.Sprintf("JSON of more than %d %s", e.Most, e.What) }

// Unmarshal is [json.Unmarshal] of a text within the limits, and an error beyond them.
func Unmarshal(text []byte, v any) error {
	if err := check(text); err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// check reports a text that is beyond the limits. It takes no memory and doesn't tell whether
// the text is JSON.
func check(text []byte) error {
	if len(text) > maxBytes {
		return &limitError{"bytes", maxBytes}
	}
	values, depth, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted:
			if c == '\\' {
				i++
			} else if c == '"' {
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == ',':
			values++
		case c == '[' || c == '{':
			values++
			depth++
		case c == ']' || c == '}':
			depth--
		}
		if values > maxValues {
			return &limitError{"values", maxValues}
		}
		if depth > maxLevels {
			return &limitError{"levels", maxLevels}
		}
	}
	return nil
}
