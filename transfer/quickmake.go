package transfer

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/weights"
)

// A record is the sketch of a row x, taken at length 1. Its components c in the directions a of the
// axes are int8 times a scale, and it has the lengths of the two parts of x that these leave out:
// rounding, which lies in the span of the axes, and rest, which is orthogonal to them. So for a
// query y of length 1 with components z and what is left of length w
//
//	x·y ≤ scale·Σ c·z + rounding·‖z‖ + rest·w
//
// A row of zeros has a record of zeros, an unreadable one a scale of NaN.
type record struct {
	scale, rounding, rest float32
	components            [quickAxes]int8
}

// unitSlack is by how much the length of a normalised row may differ from 1.
const unitSlack = 1e-5

var errNotUnit = errors.New("rows that are not of length 1")

// of makes the record of a row. unit says that rows have the length 1, or are zero.
func (c *record) of(x []float32, axes [][]float64, unit bool) error {
	*c = record{}
	n := norm(x)
	switch {
	case n == 0:
		return nil
	case unit && math.Abs(n-1) > unitSlack, math.IsNaN(n), math.IsInf(n, 0):
		return errNotUnit
	}
	var v [quickAxes]float64
	var sums kernel.Sums
	most, rest := 0.0, 1.0
	for j, axis := range axes {
		v[j] = kernel.MixedDot(&sums, x, axis) / n
		most = max(most, math.Abs(v[j]))
		rest -= v[j] * v[j]
	}
	c.scale = float32(most / math.MaxInt8)
	rounding := 0.0
	for j := range axes {
		if c.scale > 0 {
			c.components[j] = int8(max(-math.MaxInt8, min(math.MaxInt8, math.Round(v[j]/float64(c.scale)))))
		}
		e := v[j] - float64(c.scale)*float64(c.components[j])
		rounding += e * e
	}
	c.rounding, c.rest = above(math.Sqrt(rounding)), above(math.Sqrt(max(0, rest)))
	return nil
}

// above rounds to float32, up.
func above(x float64) float32 { return math.Nextafter32(float32(x), math.MaxFloat32) }

func (c *record) encode(b []byte) {
	for i, v := range [...]float32{c.scale, c.rounding, c.rest} {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	for i, v := range c.components {
		b[12+i] = byte(v)
	}
}

// makeQuick writes the sketches of the index at path.
func makeQuick(ctx context.Context, path string, o SearchOptions) error {
	numbers := numbersAt(path)
	head := quickHeader{Format: quickFormat}
	var err error
	if head.Numbers, err = idOf(numbers); err != nil {
		return err
	}
	if head.Index, err = idOf(path + indexSuffix); err != nil {
		return err
	}
	h, places, bad, err := placesOf(ctx, path)
	if err != nil {
		return err
	}
	f, err := wholefile.Open(numbers)
	if err != nil {
		return err
	}
	defer f.Close()
	start := weights.NPYHeader(h.Rows(), h.Dim)
	if !beginsWith(f, start) {
		return errors.New("not the array of the index")
	}
	head.Rows = h.Rows()
	for _, b := range bad {
		if !b {
			head.Images++
		}
	}
	m := &quickMaker{header: h, numbers: f, start: int64(len(start)), bad: bad, workers: o.workers()}
	if m.axes, err = axesOf(ctx, h.Rows(), h.Dim, quickAxes, func(r int, x []float32) (bool, error) { return !bad[r], m.readRows(r, x) }); err != nil {
		return err
	}
	head.Axes = len(m.axes)
	return atomicfile.Write(path+quickSuffix, func(to io.Writer) error {
		w := bufio.NewWriterSize(to, 1<<20)
		if err := json.NewEncoder(w).Encode(head); err != nil {
			return err
		}
		if err := binary.Write(w, binary.LittleEndian, m.flatAxes()); err != nil {
			return err
		}
		if err := m.records(ctx, w, o); err != nil {
			return err
		}
		return writePlaces(w, places)
	})
}

func writePlaces(w *bufio.Writer, places []journal.Place) error {
	var b [placeBytes]byte
	for _, p := range places {
		binary.LittleEndian.PutUint64(b[:], uint64(p.Offset))
		binary.LittleEndian.PutUint32(b[8:], uint32(p.Bytes))
		if _, err := w.Write(b[:]); err != nil {
			return err
		}
	}
	return w.Flush()
}

type quickMaker struct {
	header  Header
	numbers *os.File
	start   int64
	bad     []bool
	axes    [][]float64
	workers int
}

func (m *quickMaker) readRows(start int, dst []float32) error {
	return readFloats(m.numbers, m.start+4*int64(start)*int64(m.header.Dim), dst)
}

func (m *quickMaker) flatAxes() []float64 {
	var flat []float64
	for _, a := range m.axes {
		flat = append(flat, a...)
	}
	return flat
}

// records writes the records of all rows: some blocks at a time, in order.
func (m *quickMaker) records(ctx context.Context, w io.Writer, o SearchOptions) error {
	dim, n := m.header.Dim, m.header.Rows()
	block := max(1, scanFloats/dim)
	x := make([][]float32, m.workers)
	out := make([][]byte, m.workers)
	for i := range x {
		x[i], out[i] = make([]float32, block*dim), make([]byte, block*quickRecord)
	}
	for from := 0; from < n; from += m.workers * block {
		group, ctx := errgroup.WithContext(ctx)
		rows := func(i int) (int, int) { return min(n, from+i*block), min(n, from+(i+1)*block) }
		for i := range m.workers {
			group.Go(func() error {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				a, b := rows(i)
				return m.block(a, x[i][:(b-a)*dim], out[i])
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for i := range m.workers {
			a, b := rows(i)
			if _, err := w.Write(out[i][:(b-a)*quickRecord]); err != nil {
				return err
			}
		}
		o.OnRows.Report(int64(min(n, from+m.workers*block)), int64(n))
	}
	return nil
}

// block makes the records of the rows from start on.
func (m *quickMaker) block(start int, x []float32, out []byte) error {
	if len(x) == 0 {
		return nil
	}
	if err := m.readRows(start, x); err != nil {
		return err
	}
	dim := m.header.Dim
	var c record
	for i := range len(x) / dim {
		if err := c.of(x[i*dim:(i+1)*dim], m.axes, !m.header.Raw); err != nil {
			return fmt.Errorf("row %d: %w", start+i, err)
		}
		if m.bad[start+i] {
			c.scale = float32(math.NaN())
		}
		c.encode(out[i*quickRecord:])
	}
	return nil
}
