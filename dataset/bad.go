package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
)

// BadImage is an image that can't be read, decoded or rescaled. Batches, surveys,
// evaluations and extractions list the ones that they left out.
//
// A *BadImage is an error, too: [errors.As] finds it where a bad image is why something
// failed. Its JSON form is {"file": Name, "error": the text of Err}.
type BadImage struct {
	Name  string // Sample.Name
	Index int    // in Dataset.Samples; -1 where it is not known, as after reading JSON
	Err   error  // why
}

// Error implements error.
func (b *BadImage) Error() string { return fmt.Sprintf("%s: %v", b.Name, b.Err) }

// Unwrap returns why the image is bad.
func (b *BadImage) Unwrap() error { return b.Err }

// badImageJSON is the JSON form of a bad image.
type badImageJSON struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// MarshalJSON writes the name and the error's text.
func (b BadImage) MarshalJSON() ([]byte, error) {
	j := badImageJSON{File: b.Name}
	if b.Err != nil {
		j.Error = b.Err.Error()
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes. Of the error only the text is left.
func (b *BadImage) UnmarshalJSON(text []byte) error {
	var j badImageJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*b = BadImage{Name: j.File, Index: -1, Err: errors.New(j.Error)}
	return nil
}
