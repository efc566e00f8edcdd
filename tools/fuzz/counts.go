package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/wholefile"
)

// countsFile is the file in the corpus folder that holds the counts.
const countsFile = "inputs.json"

// counts is how many inputs each target has run in all.
type counts map[string]int64

// readCounts reads the counts of earlier runs.
func readCounts(path string) (counts, error) {
	text, err := wholefile.Read(path, wholefile.MaxText)
	if errors.Is(err, fs.ErrNotExist) {
		return counts{}, nil
	}
	c := counts{}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return nil, fmt.Errorf("counts of earlier runs: %w", err)
	}
	return c, nil
}

// add adds to the count of a target and writes all of them.
func (c counts) add(path, target string, n int64) error {
	c[target] += n
	return atomicfile.Write(path, func(w io.Writer) error {
		text, err := json.MarshalIndent(c, "", "  ")
		if err != nil {
			return err
		}
		_, err = w.Write(append(text, '\n'))
		return err
	})
}

func (c counts) sum() int64 {
	var sum int64
	for _, n := range c {
		sum += n
	}
	return sum
}
