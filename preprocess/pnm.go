package preprocess

import (
	"bytes"
	"fmt"
	"io"
	"math"
)

// pnm is the header of a portable bitmap, greymap or pixmap: P1, P2 and P3 in digits, P4, P5
// and P6 in bytes.
type pnm struct {
	kind   byte // '1' to '6'
	w, h   int
	max    int // level of white; 1 for a bitmap
	raster []byte
}

// isPNM reports whether data begins as a PNM does.
func isPNM(data []byte) bool {
	return len(data) > 2 && data[0] == 'P' && '1' <= data[1] && data[1] <= '6' && (isBlank(data[2]) || data[2] == '#')
}

func isBlank(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// channels is the number of numbers of a pixel.
func (p pnm) channels() int {
	if p.kind == '3' || p.kind == '6' {
		return 3
	}
	return 1
}

func (p pnm) digits() bool { return p.kind <= '3' }

func (p pnm) bitmap() bool { return p.kind == '1' || p.kind == '4' }

// readPNM reads the header.
func readPNM(data []byte) (pnm, error) {
	p := pnm{kind: data[1], max: 1, raster: data[2:]}
	fields := []struct {
		name string
		to   *int
		most int
	}{{"width", &p.w, math.MaxInt32}, {"height", &p.h, math.MaxInt32}, {"greatest level", &p.max, math.MaxUint16}}
	if p.bitmap() {
		fields = fields[:2]
	}
	for _, f := range fields {
		var err error
		if *f.to, err = p.number(f.most); err != nil {
			return p, fmt.Errorf("header: %s: %w", f.name, err)
		}
		if *f.to == 0 {
			return p, fmt.Errorf("header: %s 0, want 1 or more", f.name)
		}
	}
	if len(p.raster) == 0 {
		return p, io.ErrUnexpectedEOF
	}
	if !isBlank(p.raster[0]) {
		return p, fmt.Errorf("header: %q after the numbers, want a blank", p.raster[0])
	}
	p.raster = p.raster[1:]
	return p, nil
}

// number takes the next number of the raster, which follows blanks and comments.
func (p *pnm) number(most int) (int, error) {
	at := 0
	for at < len(p.raster) && (isBlank(p.raster[at]) || p.raster[at] == '#') {
		if p.raster[at] == '#' {
			end := bytes.IndexAny(p.raster[at:], "\r\n")
			if end < 0 {
				return 0, io.ErrUnexpectedEOF
			}
			at += end
			continue
		}
		at++
	}
	from, n := at, 0
	for ; at < len(p.raster) && '0' <= p.raster[at] && p.raster[at] <= '9'; at++ {
		if n = 10*n + int(p.raster[at]-'0'); n > most {
			return 0, fmt.Errorf("more than %d", most)
		}
	}
	if at == len(p.raster) && at == from {
		return 0, io.ErrUnexpectedEOF
	}
	if at == from {
		return 0, fmt.Errorf("%q, want a number", p.raster[at])
	}
	p.raster = p.raster[at:]
	return n, nil
}

func headerPNM(data []byte) (Header, error) {
	p, err := readPNM(data)
	if err != nil {
		return Header{}, err
	}
	return Header{W: p.w, H: p.h, DecodeBytes: pixelBytes(p.w, p.h, rgb), Grey16: p.channels() == 1 && p.max > math.MaxUint8}, nil
}

func decodePNM(data []byte, r *cancelled, _ Header) (*Image, error) {
	p, err := readPNM(data)
	if err != nil {
		return nil, err
	}
	// The raster must be there before memory is taken: a digit and, but for bitmaps, a blank
	// for each number.
	row := p.w * p.channels()
	least := int64(row) * int64(p.h)
	switch {
	case p.kind == '4':
		row = (p.w + 7) / 8
		least = int64(row) * int64(p.h)
	case !p.digits() && p.max > math.MaxUint8:
		row *= 2
		least *= 2
	case p.digits() && !p.bitmap():
		least = 2*least - 1
	}
	if int64(len(p.raster)) < least {
		return nil, io.ErrUnexpectedEOF
	}
	out := NewImage(p.w, p.h)
	levels := p.levels()
	for y := range p.h {
		if y&0xf == 0 && r.ctx.Err() != nil {
			return nil, r.ctx.Err()
		}
		dst := out.Pix[rgb*y*p.w : rgb*(y+1)*p.w]
		switch {
		case p.digits():
			err = p.digitRow(dst, levels)
		case p.kind == '4':
			bitRow(dst, p.raster[y*row:])
		default:
			p.byteRow(dst, p.raster[y*row:], levels)
		}
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", y, err)
		}
	}
	return out, nil
}

// levels returns the 8-bit level of each level of the file, rounded as PIL does. Grey levels of
// more than 8 bits are scaled to 16, as by PIL, and the high byte is kept.
func (p pnm) levels() []uint8 {
	table := make([]uint8, p.max+1)
	white, shift := 255., 0
	if p.channels() == 1 && p.max > math.MaxUint8 {
		white, shift = 65535, 8
	}
	for v := range table {
		table[v] = uint8(int(math.RoundToEven(float64(v)/float64(p.max)*white)) >> shift)
	}
	return table
}

// digitRow reads a row of numbers.
func (p *pnm) digitRow(dst, levels []uint8) error {
	repeat := rgb / p.channels()
	for i := 0; i < len(dst); i += repeat {
		v, err := 0, error(nil)
		if p.bitmap() {
			v, err = p.bit()
		} else {
			v, err = p.number(p.max)
		}
		if err != nil {
			return err
		}
		for j := range repeat {
			dst[i+j] = levels[v]
		}
	}
	return nil
}

// bit takes the next digit of a bitmap, 1 for white. Blanks between digits may be missing.
func (p *pnm) bit() (int, error) {
	for at := 0; at < len(p.raster); at++ {
		switch c := p.raster[at]; {
		case c == '0' || c == '1':
			p.raster = p.raster[at+1:]
			return int('1' - c), nil // in the file 1 is black
		case c == '#':
			end := bytes.IndexAny(p.raster[at:], "\r\n")
			if end < 0 {
				return 0, io.ErrUnexpectedEOF
			}
			at += end
		case !isBlank(c):
			return 0, fmt.Errorf("%q, want 0 or 1", c)
		}
	}
	return 0, io.ErrUnexpectedEOF
}

// bitRow reads a row of bits, 1 for black.
func bitRow(dst, src []byte) {
	for x := range len(dst) / rgb {
		v := src[x/8]>>(7-x%8)&1 - 1
		dst[rgb*x], dst[rgb*x+1], dst[rgb*x+2] = v, v, v
	}
}

// byteRow reads a row of numbers of one or two bytes. Those over the greatest level are white.
func (p pnm) byteRow(dst, src, levels []uint8) {
	repeat := rgb / p.channels()
	wide := p.max > math.MaxUint8
	for i := 0; i < len(dst); i += repeat {
		var v int
		if wide {
			v, src = int(src[0])<<8|int(src[1]), src[2:]
		} else {
			v, src = int(src[0]), src[1:]
		}
		level := levels[min(v, p.max)]
		for j := range repeat {
			dst[i+j] = level
		}
	}
}
