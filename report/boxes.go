package report

import (
	"fmt"
	"image"
	"image/color"
	"io"
	"math"

	"golang.org/x/image/draw"
	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/vg"
	plotdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// BoxImage is a photograph with boxes.
type BoxImage struct {
	W, H    int     // pixels
	Pix     []uint8 // R, G, B, rows from top to bottom
	Boxes   []DrawnBox
	Caption string // below the photograph on a sheet
}

// DrawnBox is a box to draw, x0, y0, x1, y1 in the photograph's pixels.
type DrawnBox struct {
	Box   [4]float64
	Label string // beside its upper left corner; may be empty
	// Tone chooses the colour; any number does. The boxes of a class share a tone.
	Tone int
	// Thin draws a thin line, for the boxes of single windows before merging.
	Thin bool
	// Truth draws a white, dashed line.
	Truth bool
}

// boxTones are Okabe and Ito's colours, beginning with those that stand out most from a
// photograph.
var boxTones = []color.RGBA{
	{0xd5, 0x5e, 0x00, 255}, {0x00, 0x72, 0xb2, 255}, {0x00, 0x9e, 0x73, 255}, {0xcc, 0x79, 0xa7, 255}, {0xe6, 0x9f, 0x00, 255}, {0x56, 0xb4, 0xe9, 255},
}

// tone returns the colour of the box.
func (d DrawnBox) tone() color.RGBA {
	n := len(boxTones)
	return boxTones[(d.Tone%n+n)%n]
}

// Bounds of the longer side of a picture with boxes, pixels. Small photographs are
// enlarged, so that labels don't cover them, and huge ones reduced.
const (
	leastBoxSide = 480
	mostBoxSide  = 1600
)

// EncodePNG writes the photograph with its boxes as PNG. The longer side of the picture is
// 480 to 1600 pixels.
func (b BoxImage) EncodePNG(w io.Writer) error {
	if err := b.check(); err != nil {
		return err
	}
	long := float64(max(b.W, b.H))
	scale := math.Min(math.Max(1, leastBoxSide/long), mostBoxSide/long)
	pw, ph := max(1, int(math.Round(scale*float64(b.W)))), max(1, int(math.Round(scale*float64(b.H))))
	s := newSheet(pw, ph)
	s.draw(b, 0, 0, pw, ph, textSize+2)
	return s.encode(w)
}

// check returns an error if the pixels don't fit the size.
func (b BoxImage) check() error {
	if b.W < 1 || b.H < 1 || len(b.Pix) != 3*b.W*b.H {
		return fmt.Errorf("report: boxes: a photograph of %d×%d pixels in %d bytes", b.W, b.H, len(b.Pix))
	}
	return nil
}

// BoxSheet shows photographs with boxes side by side, in rows that have a heading each.
type BoxSheet struct {
	Title, Subtitle string
	Rows            []BoxRow
}

// BoxRow is a row of a sheet.
type BoxRow struct {
	Heading string
	Images  []BoxImage
}

// Lengths of a sheet, pixels.
const (
	sheetPanel   = 200 // side of the square that a photograph fits into
	sheetGap     = 14
	sheetHeader  = 60
	sheetLine    = 18 // each further line of the subtitle
	sheetHeading = 26
	sheetCaption = 20
)

// EncodePNG writes the sheet as PNG. A sheet without photographs is an error.
func (s BoxSheet) EncodePNG(w io.Writer) error {
	columns := 0
	for _, r := range s.Rows {
		columns = max(columns, len(r.Images))
		for _, b := range r.Images {
			if err := b.check(); err != nil {
				return err
			}
		}
	}
	if columns == 0 {
		return fmt.Errorf("report: boxes: a sheet without photographs")
	}
	const row = sheetHeading + sheetPanel + sheetCaption + sheetGap
	width := sheetGap + columns*(sheetPanel+sheetGap)
	inner := width - 2*sheetGap
	subtitle := wrapped(textStyle(textSize, xfont.WeightNormal, greyColor), s.Subtitle, pixels(inner))
	header := sheetHeader + (len(subtitle)-1)*sheetLine
	sheet := newSheet(width, header+len(s.Rows)*row)
	sheet.text(titleSize, xfont.WeightBold, inkColor, sheetGap, 10, inner, s.Title)
	for i, line := range subtitle {
		sheet.text(textSize, xfont.WeightNormal, greyColor, sheetGap, 34+i*sheetLine, inner, line)
	}
	for i, r := range s.Rows {
		y := header + i*row
		sheet.text(textSize+1, xfont.WeightBold, inkColor, sheetGap, y+4, inner, r.Heading)
		for j, b := range r.Images {
			x := sheetGap + j*(sheetPanel+sheetGap)
			scale := sheetPanel / float64(max(b.W, b.H))
			pw, ph := max(1, int(math.Round(scale*float64(b.W)))), max(1, int(math.Round(scale*float64(b.H))))
			sheet.draw(b, x+(sheetPanel-pw)/2, y+sheetHeading+(sheetPanel-ph)/2, pw, ph, textSize-1)
			sheet.text(textSize-1, xfont.WeightNormal, greyColor, x, y+sheetHeading+sheetPanel+3, sheetPanel, b.Caption)
		}
	}
	return sheet.encode(w)
}

// sheet is a white canvas measured in pixels from its upper left corner.
type sheet struct {
	width, height int
	picture       *vgimg.Canvas
	canvas        plotdraw.Canvas
}

func newSheet(width, height int) *sheet {
	px := vg.Inch / curveDPI
	picture := vgimg.NewWith(vgimg.UseWH(vg.Length(width)*px, vg.Length(height)*px), vgimg.UseDPI(curveDPI))
	return &sheet{width, height, picture, plotdraw.New(picture)}
}

// point converts pixels into a point of the canvas.
func (s *sheet) point(x, y float64) vg.Point {
	px := float64(vg.Inch) / curveDPI
	return vg.Point{X: vg.Length(x * px), Y: vg.Length((float64(s.height) - y) * px)}
}

// text writes a text whose upper left corner is at (x, y), shortened to a width.
func (s *sheet) text(size vg.Length, weight xfont.Weight, ink color.Color, x, y, width int, text string) {
	style := textStyle(size, weight, ink)
	s.canvas.FillText(style, s.point(float64(x), float64(y)), shortened(style, text, pixels(width)))
}

// draw draws a photograph and its boxes into w×h pixels from (x, y) on.
func (s *sheet) draw(b BoxImage, x, y, w, h int, size vg.Length) {
	src := image.NewRGBA(image.Rect(0, 0, b.W, b.H))
	for i := range b.W * b.H {
		copy(src.Pix[4*i:], b.Pix[3*i:3*i+3])
		src.Pix[4*i+3] = 255
	}
	photo := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(photo, photo.Bounds(), src, src.Bounds(), draw.Src, nil)
	s.canvas.DrawImage(vg.Rectangle{Min: s.point(float64(x), float64(y+h)), Max: s.point(float64(x+w), float64(y))}, photo)
	sx, sy := float64(w)/float64(b.W), float64(h)/float64(b.H)
	for _, d := range b.Boxes {
		s.box(d, float64(x)+d.Box[0]*sx, float64(y)+d.Box[1]*sy, float64(x)+d.Box[2]*sx, float64(y)+d.Box[3]*sy, size)
	}
	for _, d := range b.Boxes {
		if d.Label != "" {
			s.label(d, float64(x)+d.Box[0]*sx, float64(y)+d.Box[1]*sy, image.Rect(x, y, x+w, y+h), size)
		}
	}
}

// box draws the lines of a box.
func (s *sheet) box(d DrawnBox, x0, y0, x1, y1 float64, size vg.Length) {
	corners := []vg.Point{s.point(x0, y0), s.point(x1, y0), s.point(x1, y1), s.point(x0, y1), s.point(x0, y0)}
	tone, width := d.tone(), size/4
	var dashes []vg.Length
	switch {
	case d.Truth:
		tone, dashes, width = color.RGBA{255, 255, 255, 255}, []vg.Length{size / 2, size / 3}, size/5
	case d.Thin:
		width = size / 8
	}
	if !d.Thin { // a dark edge sets the line off from bright places
		s.canvas.StrokeLines(plotdraw.LineStyle{Color: color.RGBA{0, 0, 0, 150}, Width: width + size/6}, corners)
	}
	s.canvas.StrokeLines(plotdraw.LineStyle{Color: tone, Width: width, Dashes: dashes}, corners)
}

// label writes the label of a box whose upper left corner is (x0, y0): above the box where
// there is room, else within it, and always within the picture.
func (s *sheet) label(d DrawnBox, x0, y0 float64, picture image.Rectangle, size vg.Length) {
	style := textStyle(size, xfont.WeightBold, color.White)
	px := curveDPI / float64(vg.Inch)
	tw, th := float64(style.Width(d.Label))*px+8, float64(size)*px*1.35
	left := math.Max(float64(picture.Min.X), math.Min(x0, float64(picture.Max.X)-tw))
	top := y0 - th
	if top < float64(picture.Min.Y) {
		top = math.Max(float64(picture.Min.Y), y0)
	}
	s.canvas.FillPolygon(d.tone(), []vg.Point{s.point(left, top), s.point(left+tw, top), s.point(left+tw, top+th), s.point(left, top+th)})
	s.canvas.FillText(style, s.point(left+4, top+th*0.12), d.Label)
}

func (s *sheet) encode(w io.Writer) error { return encodePNG(w, s.picture, "boxes") }
