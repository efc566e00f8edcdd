package report

import (
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
	// Legend is what the scale of colours says: its lowest and its highest value, and lines of
	// explanation. nil: that the values are probabilities of windows.
	Legend []string
}

// HeatRow is a class.
type HeatRow struct {
	Name  string
	Share string // beside the name, such as the probability
	Heats []Heat // by column
}

// Heat is a regular grid of values in [0,1], such as probabilities, over the photograph, whose size is W×H in the
// unit of the grid. The value at row i and column j belongs to the point
// (First + j·Step, First + i·Step), the centre of a square window of side 2·First.
type Heat struct {
	W, H        float64
	First, Step float64
	Rows, Cols  int
	Values      []float32 // row by row; nil: the photograph alone, in its colours
	Pix         []uint8   // the photograph, if it isn't the one of the heat map; of the same size
	Framed      bool      // the window of the highest value has a frame
	Caption     string
}

// at returns the value at a point: interpolated linearly within the grid, that of the
// border beyond it.
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

// heatSharpness is the number of pixels of the picture to a unit of its lengths.
const heatSharpness = 2

// Lengths of the picture, in 1/96 inch.
const (
	heatPanel  = 260 // longer side of a panel
	heatGap    = 12
	heatHeader = 86 // title, subtitle, columns
	heatLine   = 18 // each further line of the subtitle
	heatName   = 24 // class name above its panels
	heatText   = 18 // caption below a panel
	heatLegend = 77 // colour bar below the photograph
)

// EncodePNG writes a picture as PNG: the photograph at the left, and beside it the heat
// maps over the photograph in grey.
func (m Heatmap) EncodePNG(w io.Writer) error {
	if m.W < 1 || m.H < 1 || len(m.Pix) != 3*m.W*m.H || len(m.Rows) == 0 {
		return fmt.Errorf("report: heat map: no photograph or no classes, want both")
	}
	c := newHeatCanvas(m)
	c.fit(heatGap, 12, c.width-2*heatGap, titleSize, xfont.WeightBold, inkColor, m.Title)
	for i, line := range c.subtitle {
		c.text(heatGap, 34+i*heatLine, textSize, xfont.WeightNormal, greyColor, line)
	}
	photo := m.photograph(m.Pix, heatSharpness*c.panelW, heatSharpness*c.panelH)
	c.image(heatGap, c.header+heatName, photo)
	for i, title := range m.Columns {
		c.fit(c.column(i), c.header-22, c.panelW, textSize, xfont.WeightNormal, inkColor, title)
	}
	for i, row := range m.Rows {
		c.row(c.header+i*c.rowHeight(), m, row, photo)
	}
	legend := m.Legend
	if legend == nil {
		legend = []string{"0 %", "100 %", "probability of the class in", "the window round a place;", "frame: the best window"}
	}
	c.legend(c.header+heatName+c.panelH+heatGap, legend)
	return encodePNG(w, c.picture, "heat map")
}

// heatCanvas is the canvas of a heat map, measured from its upper left corner.
type heatCanvas struct {
	panelW, panelH int
	width, height  int
	subtitle       []string // lines
	header         int      // height of title, subtitle and columns
	picture        *vgimg.Canvas
	canvas         draw.Canvas
}

func newHeatCanvas(m Heatmap) *heatCanvas {
	scale := float64(heatPanel) / float64(max(m.W, m.H))
	c := &heatCanvas{panelW: max(24, int(math.Round(scale*float64(m.W)))), panelH: max(24, int(math.Round(scale*float64(m.H))))}
	c.width = c.column(len(m.Columns))
	c.subtitle = wrapped(textStyle(textSize, xfont.WeightNormal, greyColor), m.Subtitle, pixels(c.width-2*heatGap))
	c.header = heatHeader + (len(c.subtitle)-1)*heatLine
	c.height = c.header + max(len(m.Rows)*c.rowHeight(), heatName+c.panelH+heatLegend) + heatGap
	c.picture = vgimg.NewWith(vgimg.UseWH(pixels(c.width), pixels(c.height)), vgimg.UseDPI(heatSharpness*curveDPI))
	c.canvas = draw.New(c.picture)
	return c
}

func (c *heatCanvas) rowHeight() int { return heatName + c.panelH + heatText + heatGap }

// column returns the left edge of a column of panels.
func (c *heatCanvas) column(i int) int {
	return heatGap + max(c.panelW, heatBar) + heatGap + i*(c.panelW+heatGap)
}

func (c *heatCanvas) point(x, y int) vg.Point {
	return vg.Point{X: pixels(x), Y: pixels(c.height - y)}
}

// pixels is a number of pixels as a length of the canvas.
func pixels(n int) vg.Length { return vg.Length(n) * vg.Inch / curveDPI }

// fit is text, shortened to a width in pixels.
func (c *heatCanvas) fit(x, y, width int, size vg.Length, weight xfont.Weight, ink color.Color, text string) vg.Length {
	return c.text(x, y, size, weight, ink, shortened(textStyle(size, weight, ink), text, pixels(width)))
}

// text writes a text whose upper left corner is at (x, y), and returns its width.
func (c *heatCanvas) text(x, y int, size vg.Length, weight xfont.Weight, ink color.Color, text string) vg.Length {
	style := textStyle(size, weight, ink)
	c.canvas.FillText(style, c.point(x, y), text)
	return style.Width(text)
}

// image draws an image whose upper left corner is at (x, y).
func (c *heatCanvas) image(x, y int, im image.Image) {
	b := im.Bounds()
	c.canvas.DrawImage(vg.Rectangle{Min: c.point(x, y+b.Dy()/heatSharpness), Max: c.point(x+b.Dx()/heatSharpness, y)}, im)
}

// row draws the panels of a class.
func (c *heatCanvas) row(y int, m Heatmap, row HeatRow, photo *image.RGBA) {
	left := c.column(0)
	share := textStyle(textSize, xfont.WeightNormal, greyColor)
	shareWidth := int(share.Width(row.Share)*curveDPI/vg.Inch) + 10
	width := c.fit(left, y+3, max(c.panelW-shareWidth, c.panelW/3), textSize+1, xfont.WeightBold, inkColor, row.Name)
	c.canvas.FillText(share, vg.Point{X: c.point(left+10, 0).X + width, Y: c.point(0, y+4).Y}, row.Share)
	for j, h := range row.Heats {
		under := photo
		if h.Pix != nil {
			under = m.photograph(h.Pix, photo.Rect.Dx(), photo.Rect.Dy())
		}
		if h.Values != nil {
			under = overlay(under, h)
		}
		c.image(c.column(j), y+heatName, under)
		c.fit(c.column(j), y+heatName+c.panelH+3, c.panelW, textSize-1, xfont.WeightNormal, greyColor, h.Caption)
	}
}

// legend draws the scale of colours and its explanation.
func (c *heatCanvas) legend(y int, words []string) {
	c.image(heatGap, y, bar())
	small := textStyle(textSize-1, xfont.WeightNormal, greyColor)
	low, high, lines := words[0], words[1], words[2:]
	c.canvas.FillText(small, c.point(heatGap, y+heatBarHeight+2), low)
	c.canvas.FillText(small, vg.Point{X: c.point(heatGap+heatBar, 0).X - small.Width(high), Y: c.point(0, y+heatBarHeight+2).Y}, high)
	for i, line := range lines {
		c.canvas.FillText(small, c.point(heatGap, y+heatBarHeight+18+13*i), line)
	}
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

// photograph returns a photograph of m's size at the size of a panel, w×h pixels. Each pixel is the
// mean of those that it covers.
func (m Heatmap) photograph(pix []uint8, w, h int) *image.RGBA {
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
						sum[c] += int(pix[3*(v*m.W+u)+c])
					}
				}
			}
			n := (y1 - y0) * (x1 - x0)
			out.SetRGBA(x, y, color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), 255})
		}
	}
	return out
}

// overlay draws the colours of a heat map over the photograph in grey and, if the map is
// framed, a frame around the best window.
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
	if h.Framed {
		frame(out, h.best(b.Dx(), b.Dy()))
	}
	return out
}

// heated returns a grey level under the colour of a value in [0,1]. The share of the
// colour grows with the value.
func heated(grey, v float64) color.RGBA {
	v = math.Min(math.Max(v, 0), 1)
	c, share := heatColour(v), 0.8*math.Pow(v, 0.7)
	mix := func(x uint8) uint8 { return uint8(share*float64(x) + (1-share)*grey) }
	return color.RGBA{mix(c.R), mix(c.G), mix(c.B), 255}
}

// best returns the window of the highest value, in pixels of a panel of w×height.
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

// frame draws a white line between dark ones, visible on any background.
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

// heatColours are nine samples of matplotlib's inferno (van der Walt & Smith, CC0). Its
// lightness rises evenly, so that it can be read in grey and by colour-blind readers.
var heatColours = [...]color.RGBA{
	{0, 0, 4, 255}, {31, 12, 72, 255}, {85, 15, 109, 255}, {136, 34, 106, 255}, {186, 54, 85, 255},
	{227, 89, 51, 255}, {249, 140, 10, 255}, {249, 201, 50, 255}, {252, 255, 164, 255},
}

// heatColour returns the colour of a value in [0,1].
func heatColour(v float64) color.RGBA {
	f := v * float64(len(heatColours)-1)
	i := min(int(f), len(heatColours)-2)
	a, b, t := heatColours[i], heatColours[i+1], f-float64(i)
	mix := func(x, y uint8) uint8 { return uint8(math.Round((1-t)*float64(x) + t*float64(y))) }
	return color.RGBA{mix(a.R, b.R), mix(a.G, b.G), mix(a.B, b.B), 255}
}
