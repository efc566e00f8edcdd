package report

import (
	"bufio"
	"fmt"
	"image"
	"image/color"
	"io"
	"math"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Heatmap shows where in a photograph a network sees classes: a row for each class, a
// column for each scale.
type Heatmap struct {
	Title, Subtitle string
	W, H            int     // the photograph, pixels
	Pix             []uint8 // R, G, B, rows from top to bottom
	Columns         []string
	Rows            []HeatRow
}

// HeatRow is a class.
type HeatRow struct {
	Name  string
	Share string // below it, such as its probability
	Heats []Heat // one for each column
}

// Heat is probabilities on a regular grid over the photograph, which is W by H pixels in
// the grid's measure: the value in row i and column j belongs to the point
// (First + j·Step, First + i·Step), the centre of a square window of side 2·First.
type Heat struct {
	W, H        float64
	First, Step float64
	Rows, Cols  int
	Values      []float32 // row by row
	Caption     string
}

// at is the value at a point, between the grid's interpolated linearly, beyond it that
// of its border.
func (h Heat) at(x, y float64) float64 {
	axis := func(v float64, n int) (int, int, float64) {
		f := math.Min(math.Max((v-h.First)/h.Step, 0), float64(n-1))
		i := min(int(f), max(n-2, 0))
		return i, min(i+1, n-1), f - float64(i)
	}
	x0, x1, fx := axis(x, h.Cols)
	y0, y1, fy := axis(y, h.Rows)
	v := func(y, x int) float64 { return float64(h.Values[y*h.Cols+x]) }
	return (1-fy)*((1-fx)*v(y0, x0)+fx*v(y0, x1)) + fy*((1-fx)*v(y1, x0)+fx*v(y1, x1))
}

// heatSharpness is how many pixels of the picture make one of its lengths' units.
const heatSharpness = 2

// Lengths of the picture, in 1/96 inch.
const (
	heatPanel  = 260 // longer side of a panel
	heatGap    = 12
	heatHeader = 86 // title, subtitle, columns
	heatName   = 24 // class name above its panels
	heatText   = 18 // caption below a panel
	heatLegend = 77 // colour bar below the photograph
)

// EncodePNG draws the heat maps over the photograph, grey, beside the photograph itself.
func (m Heatmap) EncodePNG(w io.Writer) error {
	if m.W < 1 || m.H < 1 || len(m.Pix) != 3*m.W*m.H || len(m.Rows) == 0 {
		return fmt.Errorf("report: heat map: no photograph or no classes, want both")
	}
	scale := float64(heatPanel) / float64(max(m.W, m.H))
	pw, ph := max(24, int(math.Round(scale*float64(m.W)))), max(24, int(math.Round(scale*float64(m.H))))
	rowHeight := heatName + ph + heatText + heatGap
	first := max(pw, heatBar) // width of the photograph's column
	width := heatGap + first + len(m.Columns)*(pw+heatGap) + heatGap
	height := heatHeader + max(len(m.Rows)*rowHeight, heatName+ph+heatLegend) + heatGap
	px := vg.Inch / curveDPI
	picture := vgimg.NewWith(vgimg.UseWH(vg.Length(width)*px, vg.Length(height)*px), vgimg.UseDPI(heatSharpness*curveDPI))
	canvas := draw.New(picture)
	// Points from here on count from the upper left corner.
	point := func(x, y int) vg.Point { return vg.Point{X: vg.Length(x) * px, Y: vg.Length(height-y) * px} }
	place := func(im image.Image, x, y int) {
		b := im.Bounds()
		canvas.DrawImage(vg.Rectangle{Min: point(x, y+b.Dy()/heatSharpness), Max: point(x+b.Dx()/heatSharpness, y)}, im)
	}
	name, small := textStyle(textSize+1, xfont.WeightBold, inkColor), textStyle(textSize-1, xfont.WeightNormal, greyColor)
	canvas.FillText(textStyle(titleSize, xfont.WeightBold, inkColor), point(heatGap, 12), m.Title)
	canvas.FillText(textStyle(textSize, xfont.WeightNormal, greyColor), point(heatGap, 34), m.Subtitle)
	photo := m.photograph(heatSharpness*pw, heatSharpness*ph)
	place(photo, heatGap, heatHeader+heatName)
	left := heatGap + first + heatGap
	for i, title := range m.Columns {
		canvas.FillText(textStyle(textSize, xfont.WeightNormal, inkColor), point(left+i*(pw+heatGap), heatHeader-22), title)
	}
	for i, row := range m.Rows {
		y := heatHeader + i*rowHeight
		canvas.FillText(name, point(left, y+3), row.Name)
		canvas.FillText(textStyle(textSize, xfont.WeightNormal, greyColor), vg.Point{X: point(left+10, 0).X + name.Width(row.Name), Y: point(0, y+4).Y}, row.Share)
		for j, h := range row.Heats {
			x := left + j*(pw+heatGap)
			place(overlay(photo, h), x, y+heatName)
			canvas.FillText(small, point(x, y+heatName+ph+3), h.Caption)
		}
	}
	y := heatHeader + heatName + ph + heatGap
	place(bar(), heatGap, y)
	canvas.FillText(small, point(heatGap, y+heatBarHeight+2), "0 %")
	canvas.FillText(small, vg.Point{X: point(heatGap+heatBar, 0).X - small.Width("100 %"), Y: point(0, y+heatBarHeight+2).Y}, "100 %")
	canvas.FillText(small, point(heatGap, y+heatBarHeight+18), "probability of the class in")
	canvas.FillText(small, point(heatGap, y+heatBarHeight+31), "the window round a place;")
	canvas.FillText(small, point(heatGap, y+heatBarHeight+44), "frame: the best window")
	buffered := bufio.NewWriter(w)
	if _, err := (vgimg.PngCanvas{Canvas: picture}).WriteTo(buffered); err != nil {
		return fmt.Errorf("report: heat map: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("report: heat map: %w", err)
	}
	return nil
}

// Size of the scale of colours, pixels.
const heatBar, heatBarHeight = 160, 12

// bar draws the scale of colours.
func bar() image.Image {
	const grey = 0x90
	im := image.NewRGBA(image.Rect(0, 0, heatSharpness*heatBar, heatSharpness*heatBarHeight))
	for i := range im.Rect.Dx() {
		c := heated(grey, float64(i)/float64(im.Rect.Dx()-1))
		for j := range im.Rect.Dy() {
			im.SetRGBA(i, j, c)
		}
	}
	return im
}

// photograph is the picture at a panel's size, each pixel the mean of those it covers.
func (m Heatmap) photograph(w, h int) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		y0 := y * m.H / h
		y1 := max(y0+1, (y+1)*m.H/h)
		for x := range w {
			x0 := x * m.W / w
			x1 := max(x0+1, (x+1)*m.W/w)
			var sum [3]int
			for v := y0; v < y1; v++ {
				for u := x0; u < x1; u++ {
					for c := range sum {
						sum[c] += int(m.Pix[3*(v*m.W+u)+c])
					}
				}
			}
			n := (y1 - y0) * (x1 - x0)
			out.SetRGBA(x, y, color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), 255})
		}
	}
	return out
}

// overlay lays the heat's colours over the grey photograph, and a frame round the best
// window.
func overlay(photo *image.RGBA, h Heat) *image.RGBA {
	b := photo.Bounds()
	out := image.NewRGBA(b)
	for y := range b.Dy() {
		for x := range b.Dx() {
			p := photo.RGBAAt(x, y)
			grey := 0.299*float64(p.R) + 0.587*float64(p.G) + 0.114*float64(p.B)
			out.SetRGBA(x, y, heated(grey, h.at((float64(x)+0.5)*h.W/float64(b.Dx()), (float64(y)+0.5)*h.H/float64(b.Dy()))))
		}
	}
	frame(out, h.best(b.Dx(), b.Dy()))
	return out
}

// heated is a grey level under a value in [0,1]: the higher, the more of its colour.
func heated(grey, v float64) color.RGBA {
	v = math.Min(math.Max(v, 0), 1)
	c, share := heatColour(v), 0.8*math.Pow(v, 0.7)
	mix := func(x uint8) uint8 { return uint8(share*float64(x) + (1-share)*grey) }
	return color.RGBA{mix(c.R), mix(c.G), mix(c.B), 255}
}

// best is the window of the highest value, on a panel of w×h pixels.
func (h Heat) best(w, height int) image.Rectangle {
	at := 0
	for i, v := range h.Values {
		if v > h.Values[at] {
			at = i
		}
	}
	pixel := func(v, of float64, n int) int { return int(math.Round(v * float64(n) / of)) }
	x, y := float64(at%h.Cols)*h.Step, float64(at/h.Cols)*h.Step
	r := image.Rect(pixel(x, h.W, w), pixel(y, h.H, height), pixel(x+2*h.First, h.W, w), pixel(y+2*h.First, h.H, height))
	return r.Intersect(image.Rect(0, 0, w, height))
}

// frame draws a white line with a dark one beside it, to be seen on anything.
func frame(im *image.RGBA, r image.Rectangle) {
	for i, c := range []color.RGBA{{20, 20, 20, 255}, {255, 255, 255, 255}, {255, 255, 255, 255}, {20, 20, 20, 255}} {
		q := r.Inset(i)
		for x := q.Min.X; x < q.Max.X; x++ {
			im.SetRGBA(x, q.Min.Y, c)
			im.SetRGBA(x, q.Max.Y-1, c)
		}
		for y := q.Min.Y; y < q.Max.Y; y++ {
			im.SetRGBA(q.Min.X, y, c)
			im.SetRGBA(q.Max.X-1, y, c)
		}
	}
}

// heatColours are nine samples of matplotlib's inferno (van der Walt & Smith, CC0), whose
// lightness rises evenly, so that it reads in grey and by colour-blind readers.
var heatColours = [...]color.RGBA{
	{0, 0, 4, 255}, {31, 12, 72, 255}, {85, 15, 109, 255}, {136, 34, 106, 255}, {186, 54, 85, 255},
	{227, 89, 51, 255}, {249, 140, 10, 255}, {249, 201, 50, 255}, {252, 255, 164, 255},
}

// heatColour is the colour of a value in [0,1].
func heatColour(v float64) color.RGBA {
	f := v * float64(len(heatColours)-1)
	i := min(int(f), len(heatColours)-2)
	a, b, t := heatColours[i], heatColours[i+1], f-float64(i)
	mix := func(x, y uint8) uint8 { return uint8(math.Round((1-t)*float64(x) + t*float64(y))) }
	return color.RGBA{mix(a.R, b.R), mix(a.G, b.G), mix(a.B, b.B), 255}
}
