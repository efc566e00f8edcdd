package nn

import "fmt"

// UnpackRows is [Param.Unpack] of the rows from out-channel k0 (the first dimension of
// Shape) on, as many as dst holds.
func (p *Param) UnpackRows(k0 int, dst, packed []float32) error {
	if err := p.checkRows(k0, dst, packed); err != nil {
		return err
	}
	p.unpack(dst, packed, k0)
	return nil
}

// PackRows is the inverse of [Param.UnpackRows].
func (p *Param) PackRows(k0 int, packed, src []float32) error {
	if err := p.checkRows(k0, src, packed); err != nil {
		return err
	}
	p.pack(packed, src, k0)
	return nil
}

func (p *Param) checkRows(k0 int, rows, packed []float32) error {
	row := p.Len() / p.Shape[0]
	if k0 < 0 || len(rows)%row != 0 || k0+len(rows)/row > p.Shape[0] || len(packed) != p.packed {
		return fmt.Errorf("nn: %s: %d values from row %d on of %d packed, want rows of %d within shape %v of %d", p.Name, len(rows), k0, len(packed), row, p.Shape, p.packed)
	}
	return nil
}
