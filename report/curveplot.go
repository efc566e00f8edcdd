package report

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"io/fs"
	"math"
	"strconv"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/verydeep/vgg/internal/atomicfile"
)

// Size of the picture in pixels, and its density: pixels an inch, for lengths in
// points.
const (
	curveWidth  = 1200
	curveHeight = 500
	curveDPI    = 96
)

// Lengths of the layout.
const (
	margin       vg.Length = 14
	panelGap     vg.Length = 26
	titleSize    vg.Length = 13
	textSize     vg.Length = 10
	headerHeight vg.Length = 46 // title and subtitle
	panelHeader  vg.Length = 38 // panel title and legend, then learning rates
	sampleWidth  vg.Length = 16 // line sample of the legend
	ringRadius   vg.Length = 4.5
	dotRadius    vg.Length = 2
	mostDots               = 60 // epochs; the dots of more would merge
)

// series is one line of a panel.
type series struct {
	name   string
	points plotter.XYs
	color  color.Color
	width  vg.Length
	dots   bool
}

// panel is one of the two plots side by side.
type panel struct {
	title  string
	series []series
	top    float64 // of the vertical axis, which starts at 0
	label  func(float64) string
	best   *bestPoint // or nil
}

// Colours from Okabe and Ito's palette, which colour-blind readers can tell
// apart; the light blue is a tint of the blue.
var (
	inkColor   = color.RGBA{0x22, 0x22, 0x22, 0xff}
	greyColor  = color.RGBA{0x70, 0x70, 0x70, 0xff}
	gridColor  = color.RGBA{0xe6, 0xe6, 0xe6, 0xff}
	lightColor = color.RGBA{0x9f, 0xc9, 0xe4, 0xff}
	blueColor  = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	redColor   = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	greenColor = color.RGBA{0x00, 0x9e, 0x73, 0xff}
)

// WritePNG writes the picture of EncodePNG to the file at path. An earlier file stays until
// the whole picture is written.
func (c Curve) WritePNG(path string) error {
	err := atomicfile.Write(path, c.EncodePNG)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("report: curve: %w", err)
	}
	return err
}

// EncodePNG draws the curve as a PNG of 1200×500 pixels: on the left the
// training loss of each iteration, its running mean and the validation loss,
// on the right the validation's top-1 and top-5 error in per cent, both over
// epochs, with the steps of the learning rate marked. Losses that are not
// finite are left out. A curve without any point is an error.
func (c Curve) EncodePNG(w io.Writer) error {
	if len(c.Iterations) == 0 && len(c.Epochs) == 0 {
		return errNoPoints
	}
	image := vgimg.NewWith(
		vgimg.UseWH(vg.Length(curveWidth)*vg.Inch/curveDPI, vg.Length(curveHeight)*vg.Inch/curveDPI),
		vgimg.UseDPI(curveDPI))
	c.draw(draw.Crop(draw.New(image), margin, -margin, margin, -margin))
	return encodePNG(w, image, "curve")
}

func (c Curve) draw(canvas draw.Canvas) {
	top := canvas.Max.Y
	canvas.FillText(textStyle(titleSize, xfont.WeightBold, inkColor), vg.Point{X: canvas.Min.X, Y: top}, c.Title)
	canvas.FillText(textStyle(textSize, xfont.WeightNormal, greyColor),
		vg.Point{X: canvas.Min.X, Y: top - 1.5*titleSize}, c.subtitle())

	body := draw.Crop(canvas, 0, 0, 0, -headerHeight)
	half := (body.Size().X - panelGap) / 2
	c.drawPanel(draw.Crop(body, 0, -half-panelGap, 0, 0), c.lossPanel())
	c.drawPanel(draw.Crop(body, half+panelGap, 0, 0, 0), c.errorPanel())
}

func (c Curve) lossPanel() panel {
	train, mean := lossLine(extremes(c.Iterations)), lossLine(runningMean(c.Iterations))
	validation := c.epochLine(func(e EpochPoint) float64 { return e.Loss })
	return panel{
		title: "Loss",
		series: []series{
			{name: "training, each iteration", points: train, color: lightColor, width: 0.75},
			{name: "running mean", points: mean, color: blueColor, width: 2},
			{name: "validation", points: validation, color: redColor, width: 1.75, dots: len(validation) <= mostDots},
		},
		// Single iterations may exceed the axis; the mean and the validation don't.
		top:   1.15 * highest(1e-6, mean, validation),
		label: func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) },
	}
}

func (c Curve) errorPanel() panel {
	top1 := c.epochLine(func(e EpochPoint) float64 { return 100 * e.Top1 })
	top5 := c.epochLine(func(e EpochPoint) float64 { return 100 * e.Top5 })
	p := panel{
		title: "Validation error",
		series: []series{
			{name: c.errors()[0], points: top1, color: redColor, width: 2, dots: len(top1) <= mostDots},
			{name: c.errors()[1], points: top5, color: greenColor, width: 2, dots: len(top5) <= mostDots},
		},
		top:   math.Min(100, 1.12*highest(1, top1, top5)),
		label: func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) + " %" },
	}
	if len(c.Epochs) == 0 {
		p.top = 100
	} else {
		best := c.best()
		p.best = &bestPoint{X: float64(best.Epoch), Y: 100 * best.Top1}
	}
	return p
}

func lossLine(points []IterationPoint) plotter.XYs {
	line := make(plotter.XYs, len(points))
	for i, p := range points {
		line[i] = plotter.XY{X: p.Epoch, Y: p.Loss}
	}
	return line
}

func (c Curve) epochLine(value func(EpochPoint) float64) plotter.XYs {
	points := make(plotter.XYs, len(c.Epochs))
	for i, e := range c.Epochs {
		points[i] = plotter.XY{X: float64(e.Epoch), Y: value(e)}
	}
	return points
}

// lastEpoch is the right end of the horizontal axis.
func (c Curve) lastEpoch() float64 {
	last := 1.0
	if n := len(c.Iterations); n > 0 {
		last = math.Max(last, c.Iterations[n-1].Epoch)
	}
	if n := len(c.Epochs); n > 0 {
		last = math.Max(last, float64(c.Epochs[n-1].Epoch))
	}
	return last
}

// drawPanel draws the panel's header over its axes and lines.
func (c Curve) drawPanel(canvas draw.Canvas, content panel) {
	p := plot.New()
	styleAxes(p)
	p.X.Min, p.X.Max = 0, c.lastEpoch()
	p.Y.Min, p.Y.Max = 0, content.top
	p.X.Label.Text = "epoch"
	p.X.Tick.Marker = evenTicks(12, 1, func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) })
	p.Y.Tick.Marker = evenTicks(7, 0, content.label)

	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	grid.Horizontal = draw.LineStyle{Color: gridColor, Width: 0.75}
	p.Add(grid)
	p.Add(rateSteps(c.decreases()))
	for _, s := range content.series {
		p.Add(s)
	}
	if content.best != nil {
		p.Add(content.best)
	}

	drawPanelHeader(canvas, content)
	p.Draw(draw.Crop(canvas, 0, 0, 0, -panelHeader))
}

// drawPanelHeader draws the title at the left and the legend, in one row, at the
// right, above the data.
func drawPanelHeader(canvas draw.Canvas, content panel) {
	canvas.FillText(textStyle(textSize+1, xfont.WeightBold, inkColor), vg.Point{X: canvas.Min.X, Y: canvas.Max.Y}, content.title)
	style := textStyle(textSize, xfont.WeightNormal, inkColor)
	x := canvas.Max.X
	for i := len(content.series) - 1; i >= 0; i-- {
		s := content.series[i]
		x -= style.Width(s.name)
		canvas.FillText(style, vg.Point{X: x, Y: canvas.Max.Y}, s.name)
		x -= sampleWidth + 4
		y := canvas.Max.Y - style.Rectangle(s.name).Size().Y/2 - 1
		canvas.StrokeLine2(draw.LineStyle{Color: s.color, Width: s.width}, x, y, x+sampleWidth, y)
		if s.dots {
			canvas.DrawGlyph(draw.GlyphStyle{Color: s.color, Radius: dotRadius, Shape: draw.CircleGlyph{}},
				vg.Point{X: x + sampleWidth/2, Y: y})
		}
		x -= 14
	}
}

// Plot draws the line, broken where a value is not finite.
func (s series) Plot(canvas draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&canvas)
	var lines [][]vg.Point
	var line []vg.Point
	for _, point := range s.points {
		if !finite(point.Y) {
			lines, line = append(lines, line), nil
			continue
		}
		at := vg.Point{X: x(point.X), Y: y(point.Y)}
		line = append(line, at)
		if s.dots && canvas.Contains(at) {
			canvas.DrawGlyphNoClip(draw.GlyphStyle{Color: s.color, Radius: dotRadius, Shape: draw.CircleGlyph{}}, at)
		}
	}
	lines = append(lines, line)
	canvas.StrokeLines(draw.LineStyle{Color: s.color, Width: s.width}, canvas.ClipLinesXY(lines...)...)
}

// bestPoint is the lowest error, in per cent, at its epoch.
type bestPoint plotter.XY

// Plot draws a ring around the point and writes its value: below it, where
// falling curves leave room, or above it near the axis.
func (point bestPoint) Plot(canvas draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&canvas)
	at := vg.Point{X: x(point.X), Y: y(point.Y)}
	canvas.DrawGlyphNoClip(draw.GlyphStyle{Color: inkColor, Radius: ringRadius, Shape: draw.RingGlyph{}}, at)
	style := textStyle(textSize, xfont.WeightBold, inkColor)
	value := "best " + Percent(point.Y/100)
	width := style.Width(value)
	left := min(max(at.X-width/2, canvas.Min.X), canvas.Max.X-width)
	below := at.Y - ringRadius - 3
	if below-3*textSize > canvas.Min.Y {
		canvas.FillText(style, vg.Point{X: left, Y: below}, value)
		return
	}
	style.YAlign = draw.YBottom
	canvas.FillText(style, vg.Point{X: left, Y: at.Y + ringRadius + 3}, value)
}

// rateSteps marks the steps of the learning rate and writes the new rates above
// the axes, as far as there is room.
type rateSteps []decrease

// Plot implements plot.Plotter.
func (steps rateSteps) Plot(canvas draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&canvas)
	line := draw.LineStyle{Color: greyColor, Width: 0.75, Dashes: []vg.Length{3, 3}}
	style := textStyle(textSize-1, xfont.WeightNormal, greyColor)
	style.YAlign = draw.YBottom
	free := canvas.Min.X
	name := "learning rate "
	for _, step := range steps {
		at := x(step.epoch)
		canvas.StrokeLine2(line, at, canvas.Min.Y, at, canvas.Max.Y)
		label := name + strconv.FormatFloat(step.rate, 'g', 3, 64)
		width := style.Width(label)
		left := min(at-width/2, canvas.Max.X-width)
		if left >= free {
			canvas.FillText(style, vg.Point{X: left, Y: canvas.Max.Y + 3}, label)
			free = left + width + 6
			name = ""
		}
	}
}

func styleAxes(p *plot.Plot) {
	p.BackgroundColor = nil
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Padding = 0
		axis.LineStyle = draw.LineStyle{Color: greyColor, Width: 0.75}
		axis.Tick.LineStyle = axis.LineStyle
		axis.Tick.Length = 4
		axis.Tick.Label.Font = sans(textSize, xfont.WeightNormal)
		axis.Tick.Label.Color = inkColor
		axis.Label.TextStyle.Font = sans(textSize, xfont.WeightNormal)
		axis.Label.TextStyle.Color = inkColor
	}
	p.X.Label.Padding = 2
}

// textStyle returns a style for text placed by its upper left corner.
func textStyle(size vg.Length, weight xfont.Weight, ink color.Color) text.Style {
	return text.Style{
		Color:   ink,
		Font:    sans(size, weight),
		XAlign:  text.XLeft,
		YAlign:  text.YTop,
		Handler: plot.DefaultTextHandler,
	}
}

func sans(size vg.Length, weight xfont.Weight) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight, Size: size}
}

// evenTicks marks an axis from 0 on at multiples of a step: the smallest one of
// the form 1, 2 or 5 times a power of ten that is at least least and makes at
// most most ticks.
func evenTicks(most, least float64, label func(float64) string) plot.Ticker {
	return plot.TickerFunc(func(_, upper float64) []plot.Tick {
		step := math.Max(least, math.Pow(10, math.Floor(math.Log10(upper/most))))
		for _, factor := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
			if upper/step <= most {
				break
			}
			step *= factor
		}
		var ticks []plot.Tick
		for i := 0.0; i*step <= upper*(1+1e-9); i++ {
			ticks = append(ticks, plot.Tick{Value: i * step, Label: label(i * step)})
		}
		return ticks
	})
}

// highest returns the largest finite ordinate of lines, at least least.
func highest(least float64, lines ...plotter.XYs) float64 {
	for _, line := range lines {
		for _, point := range line {
			if finite(point.Y) {
				least = math.Max(least, point.Y)
			}
		}
	}
	return least
}
