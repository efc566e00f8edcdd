package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/verydeep/vgg/internal/matfile"
)

var errMAT = errors.New("not a level 5 MAT-file with an array of structs synsets")

// parseMeta reads the synsets of an ILSVRC devkit's meta.mat: an array of
// structs with ILSVRC2012_ID, WNID, words and num_children. Synsets with children
// are groups of classes, and are left out.
func parseMeta(data []byte) ([]synset, error) {
	if !matfile.Is(data[:min(len(data), matfile.HeaderBytes)]) {
		return nil, errMAT
	}
	variables, err := matfile.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMAT, err)
	}
	for _, v := range variables {
		if v.Class == "struct" && v.Name == "synsets" {
			return synsetsOf(v)
		}
	}
	return nil, errMAT
}

func synsetsOf(structs *matfile.Array) ([]synset, error) {
	var list []synset
	if len(structs.Fields) == 0 {
		return nil, errMAT
	}
	for i := range structs.Len() {
		s := synset{id: -1}
		for _, name := range []string{"ILSVRC2012_ID", "ILSVRC2010_ID"} {
			if id := structs.Field(i, name); id != nil {
				s.id = wholeNumber(id)
			}
		}
		s.wnid, _ = structs.Field(i, "WNID").Text()
		s.title, _ = structs.Field(i, "words").Text()
		if children := structs.Field(i, "num_children"); children != nil && wholeNumber(children) != 0 {
			continue
		}
		if !isWNID(s.wnid) || s.id < 1 {
			return nil, fmt.Errorf("%w: synset %d: WNID %q, id %d", errMAT, len(list)+1, s.wnid, s.id)
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, errMAT
	}
	return list, nil
}

// wholeNumber returns the value of an array with one value, a whole number, else -1.
func wholeNumber(a *matfile.Array) int {
	values, err := a.Numbers()
	if err != nil || len(values) != 1 || values[0] != math.Trunc(values[0]) || math.Abs(values[0]) > 1<<30 {
		return -1
	}
	return int(values[0])
}
