package cli

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"path/filepath"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/stylise"
)

type styliseCommand struct {
	Content       string            `arg:"" help:"Picture whose content is kept."`
	Style         string            `arg:"" help:"Picture whose style is taken, such as a painting."`
	Out           string            `default:"stylised.png" placeholder:"FILE" help:"Output: the picture, as PNG (stylised.png). It is written again as it grows."`
	Net           string            `default:"D" placeholder:"WEIGHTS" help:"Network whose features are used: a file of weights, or a configuration's name for its public release (D)."`
	LongSide      int               `default:"512" placeholder:"PIXELS" help:"Longer side of the picture (512)."`
	Iterations    int               `default:"300" placeholder:"N" help:"Number of iterations (300)."`
	StyleWeight   float64           `default:"5" placeholder:"X" help:"Weight of the style beside the content's, which is 1 (5)."`
	Smoothness    float64           `default:"20" placeholder:"X" help:"Weight of differences of neighbouring pixels (20)."`
	Pooling       string            `default:"average" enum:"average,max" placeholder:"HOW" help:"Poolings of the network: average, as the paper found to look better, or max, as it was trained (average)."`
	ContentLayers []string          `placeholder:"LAYER" help:"Layers whose features are the content (conv4_2)."`
	StyleLayers   []string          `placeholder:"LAYER" help:"Layers whose Gram matrices are the style (conv1_1,conv2_1,conv3_1,conv4_1,conv5_1)."`
	Optimiser     stylise.Optimiser `default:"lbfgs" enum:"lbfgs,adam" placeholder:"NAME" help:"Optimiser: lbfgs or adam (lbfgs)."`
	Start         string            `placeholder:"FILE" help:"Picture to start from, such as the output of an interrupted run (the content)."`
	Every         int               `default:"10" placeholder:"N" help:"Number of iterations between two pictures in the output (10)."`
	overwriteFlag
	modelFlags
	pixelsFlag
	threadsFlag
	jsonFlag
}

func (styliseCommand) Help() string {
	return `Paints the content of one picture in the style of another (Gatys, Ecker & Bethge 2016). It changes the picture until the network's features of it are near those of the content, and their Gram matrices near those of the style.

  - The output is a whole picture at any moment; look at it while it grows. Ctrl-C keeps it, and --start goes on from it.
  - The losses are divided by what they are of, so that --style-weight means the same for any weights.
  - At 512 pixels it takes about 0.9 GB of memory.

Examples:

    vgg stylise photo.jpg painting.jpg --out painted.png
    vgg stylise photo.jpg painting.jpg --net E --style-weight 20 --long-side 768
    vgg stylise photo.jpg painting.jpg --start stylised.png --overwrite` + exitHelp
}

// styliseResult has the JSON keys of `vgg stylise --json`.
type styliseResult struct {
	Out     string         `json:"out"`
	Width   int            `json:"width"`
	Height  int            `json:"height"`
	Net     string         `json:"net"`
	Network string         `json:"network"`
	Done    int            `json:"iterations"`
	Final   stylise.Loss   `json:"final"`  // of the picture
	Losses  []stylise.Loss `json:"losses"` // of the picture before each iteration
}

func (c *styliseCommand) options() (stylise.Options, error) {
	o := stylise.DefaultOptions()
	o.Size, o.Iterations, o.Optimiser = c.LongSide, c.Iterations, c.Optimiser
	o.Style, o.Variation, o.AveragePooling = c.StyleWeight, c.Smoothness, c.Pooling == "average"
	if c.ContentLayers != nil {
		o.ContentLayers = c.ContentLayers
	}
	if c.StyleLayers != nil {
		o.StyleLayers = c.StyleLayers
	}
	if c.Every < 1 {
		return o, usagef("--every %d, want at least 1", c.Every)
	}
	if err := o.Validate(); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

func (c *styliseCommand) Run(e *environment) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	if err := asPNG(output{"--out", c.Out}); err != nil {
		return err
	}
	release, err := c.claim([]output{{"--out", c.Out}}, c.Content, c.Style, c.Net, c.Labels)
	if err != nil {
		return err
	}
	defer release()
	threads, err := c.apply()
	if err != nil {
		return err
	}
	m, err := c.convolutions(e, c.Net, threads)
	if err != nil {
		return err
	}
	var pictures [3]*preprocess.Image
	for i, name := range []string{c.Content, c.Style, c.Start} {
		if name == "" {
			continue
		}
		if pictures[i], err = e.decodeImage(picture{name: name}, m.Preprocess.Orient, c.pixels()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	o.Start = pictures[2]
	bar := e.newProgress()
	defer bar.close()
	progress := bar.stage("painting "+filepath.Base(c.Out), unitIterations)
	o.OnIteration = func(i stylise.Iteration) error {
		progress(int64(i.Done), int64(i.Of))
		if i.Done%c.Every != 0 || i.Done == i.Of {
			return nil
		}
		return c.write(i.Picture())
	}
	r, err := stylise.Run(e.ctx, m, pictures[0], pictures[1], o)
	bar.close()
	if r == nil || err != nil && e.ctx.Err() == nil {
		return err
	}
	if err := c.write(r.Picture); err != nil {
		return err
	}
	if err != nil {
		fmt.Fprintf(e.stderr, "%s has the picture of %d iterations; --start %s --overwrite goes on from it\n", c.Out, len(r.Losses), quoted(c.Out))
		return err
	}
	if c.JSON {
		return writeJSON(e.stdout, styliseResult{c.Out, r.Picture.W, r.Picture.H, c.Net, m.Net.Options().Config, len(r.Losses), r.Loss, r.Losses})
	}
	first, last := r.Losses[0], r.Loss
	fmt.Fprintf(e.stdout, "%s: %d×%d pixels, %d iterations, loss from %.4g to %.4g (content %.3g, style %.3g)\n", c.Out, r.Picture.W, r.Picture.H, len(r.Losses), first.Total, last.Total, last.Content, last.Style)
	return nil
}

// write replaces the output by a picture.
func (c *styliseCommand) write(im *preprocess.Image) error {
	out := image.NewNRGBA(image.Rect(0, 0, im.W, im.H))
	for i := range im.W * im.H {
		out.SetNRGBA(i%im.W, i/im.W, color.NRGBA{im.Pix[3*i], im.Pix[3*i+1], im.Pix[3*i+2], 255})
	}
	return writeFile(c.Out, func(w io.Writer) error { return png.Encode(w, out) })
}
