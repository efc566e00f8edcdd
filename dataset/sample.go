package dataset

import (
	"archive/zip"
	"context"
	_ "embed"
	"fmt"
	"strings"
)

//go:embed sample/caltech101.zip
var samplePack string

// SampleCredit is the attribution that the embedded sample's licence asks for.
const SampleCredit = "Caltech-101 (Li, Andreetto, Ranzato, Perona 2004), CaltechDATA, https://doi.org/10.22002/D1.20086, CC BY 4.0"

// OpenSample returns the photographs that are embedded in the binary: ten categories
// of Caltech-101, with forty training and ten validation images each. SampleCredit and
// the README beside the pack give credit and licence.
func OpenSample() (train, val *Dataset, err error) {
	z, err := zip.NewReader(strings.NewReader(samplePack), int64(len(samplePack)))
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: embedded sample: %w", err)
	}
	s := &search{ctx: context.Background()}
	if train, val, err = openFolders(s, "caltech101-sample", z); err == nil {
		s.finish(train, val)
	}
	return train, val, err
}
