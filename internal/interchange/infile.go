package interchange

import (
	"fmt"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

// CanStay reports whether the weights of the fully connected layers can stay in f
// ([nn.InFile]): each is a range of the file in the order of the parameter.
func CanStay(f *weights.File, params []*nn.Param, from []Location) bool {
	for i, p := range params {
		if len(p.Shape) == 2 && !from[i].rowsIn(f) {
			return false
		}
	}
	return true
}

// rowsIn reports whether rows of a parameter are read at the location without reading others.
func (l Location) rowsIn(f *weights.File) bool {
	return l.Tensor != "" && !l.columns && !l.channelsLast && l.fill == 0 && f.InPlace(l.Tensor)
}

// keepIn tells parameters that stay in their file where they are in it. A file that is
// written to afterwards is an error of the pass that reads it.
func keepIn(f *weights.File, params []*nn.Param, from []Location) error {
	for i, p := range params {
		if !p.InFile() {
			continue
		}
		at := from[i]
		if !at.rowsIn(f) {
			return fmt.Errorf("%s: %s can't stay in the file: it is no range of it in the order of its rows", f.Name(), p.Name)
		}
		row := p.Len() / p.Shape[0]
		err := p.KeepIn(func(k0 int, dst []float32) error {
			if err := f.ReadRange(at.Tensor, k0*row, dst); err != nil {
				return err
			}
			return f.Unchanged()
		})
		if err != nil {
			return err
		}
	}
	return nil
}
