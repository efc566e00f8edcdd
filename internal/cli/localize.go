package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/verydeep/vgg/explain"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
)

type localizeCommand struct {
	Images localizeImagesCommand `cmd:"" default:"withargs" help:"Find the boxes of objects in photographs (the word images may be left out)."`
	Train  localizeTrainCommand  `cmd:"" help:"Fine-tune a classification network to give boxes."`
	Eval   localizeEvalCommand   `cmd:"" help:"Measure the localisation error on images with boxes."`
}

func (localizeCommand) Help() string {
	return `A network with boxes is trained first, from a classification network and images with boxes. Then it finds objects in photographs: of the classes that a classification network tells, or that --class names.

Examples:

    vgg localize train --data raccoons --out boxes
    vgg localize boxes/best.safetensors photo.jpg --draw out.png
    vgg localize eval boxes/best.safetensors --data raccoons` + exitHelp
}

type localizeImagesCommand struct {
	Weights string `arg:"" help:"Localisation network (vgg localize train), with scales behind it if wanted: PCR.safetensors@256,384."`
	picturesArg
	withFlag
	Class       []string `sep:"none" placeholder:"NAME" help:"Class to find, instead of the most probable ones. Can be given more than once."`
	Top         int      `default:"5" placeholder:"K" help:"Number of answers for each image (5)."`
	AllBoxes    bool     `help:"Show every merged box of each class, not only the best."`
	Unmerged    bool     `help:"Show the box of every window, before merging."`
	Draw        string   `placeholder:"FILE" help:"Draw the boxes, as PNG. Of several images, their names precede the file's."`
	DrawClasses int      `default:"1" placeholder:"K" help:"Number of shown classes that are drawn (1)."`
	overwriteFlag
	storageFlag
	deviceFlags
	denseFlags
	pixelsFlag
	threadsFlag
	jsonFlag
}

// denseFlags choose how boxes are rated and merged.
type denseFlags struct {
	releaseFlags
	fileFlags
	Classifier []string `sep:"none" placeholder:"WEIGHTS" help:"Classification network that rates the boxes: the one that the localisation network was trained from. A file, or a configuration's name for its public release. Posteriors of several are averaged."`
	MergeBelow float64  `default:"${merge}" placeholder:"SCORE" help:"Match score below which boxes are merged: distance of the centres in units of the boxes' side, plus 1 − IoU; 0 merges nothing (${merge})."`
}

func (localizeImagesCommand) Help() string {
	return `Finds the boxes of objects. The localisation network runs densely over the whole image, each window gives a box, and boxes that match are merged greedily.

  - The classifier names the most probable classes. It rates each box by the sum of its posteriors in the box's windows.
  - Boxes of several networks, by --with, are merged like those of one.
  - Without a classifier, --class names the classes. A single-class network needs none: it gives the box of the object, rated by the number of windows.
  - Boxes are x0, y0, x1, y1 in pixels of the image, turned upright by its EXIF data unless the weights or --orient tell otherwise.
  - With --json, scales are the smallest sides at which any of the networks saw the image.
  - An unreadable image has its error in the place of its boxes.

Examples:

    vgg localize PCR.safetensors photo.jpg --classifier D --draw boxes.png
    vgg localize PCR.safetensors@256,384 photo.jpg --class dog --all-boxes
    vgg localize PCR.safetensors photos --with SCR.safetensors --classifier D --json` + exitHelp
}

// localizeLine is a line of `vgg localize --json`.
type localizeLine struct {
	File   string           `json:"file"`
	Width  int              `json:"width,omitempty"`
	Height int              `json:"height,omitempty"`
	Scales []int            `json:"scales,omitempty"` // smallest sides of the picture that the networks saw
	Boxes  []localize.Shown `json:"boxes"`
	Error  string           `json:"error,omitempty"`
}

func (c *localizeImagesCommand) Run(e *environment) error {
	switch {
	case c.Top < 1:
		return usagef("--top %d, want at least 1", c.Top)
	case c.AllBoxes && c.Unmerged:
		return usagef("--all-boxes and --unmerged both, want one of them")
	case c.DrawClasses < 1:
		return usagef("--draw-classes %d, want at least 1", c.DrawClasses)
	}
	if err := asPNG(output{"--draw", c.Draw}); err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	l, err := c.locator(e, append([]string{c.Weights}, c.With...), c.FCWeights, c.deviceFlags, threads)
	if err != nil {
		return err
	}
	classes, err := c.classes(l)
	if err != nil {
		return err
	}
	pictures, err := e.pictures(c.Images)
	if err != nil {
		return err
	}
	if err := c.checkDraw(pictures); err != nil {
		return err
	}
	return e.forEach(pictures, func(p picture) (bad bool, err error) {
		line := localizeLine{File: p.name, Boxes: []localize.Shown{}}
		err = c.locate(e, l, classes, p, &line)
		if _, unwritten := errors.AsType[*outputError](err); unwritten || e.stops(err) {
			return false, fmt.Errorf("%s: %w", p.name, err)
		} else if err != nil {
			line.Error = err.Error()
		}
		return line.Error != "", e.printImage(c.JSON, line, p.name, line.Error, line.table)
	})
}

// locator opens the networks.
func (f denseFlags) locator(e *environment, boxes []string, fc nn.Storage, device deviceFlags, threads int) (*localize.Locator, error) {
	l := &localize.Locator{Threshold: f.MergeBelow}
	switch {
	case f.MergeBelow == 0:
		l.Threshold = localize.NoMerge
	case !(f.MergeBelow > 0):
		return nil, usagef("--merge-below %v, want at least 0", f.MergeBelow)
	}
	given, err := f.options()
	if err != nil {
		return nil, err
	}
	if len(f.Classifier) == 0 && (f.Preprocess != "" || f.Labels != "" || f.Head != "" || f.Input != 0 || f.Config != "" || f.Ignore != nil || f.Prefix != "") {
		return nil, usagef("--preprocess, --labels, --head, --input, --config, --ignore and --prefix are of a classifier, want --classifier FILE too")
	}
	classifiers, localisers := f.opener(e, fc, threads), f.opener(e, fc, threads)
	given.FCStorage = fc
	classifiers.options, localisers.options.Localiser = given, true
	localisers.options.Fit, localisers.options.Orient = f.Resize, f.Orient
	if err := errors.Join(classifiers.compute(device), localisers.compute(device)); err != nil {
		return nil, err
	}
	for _, arg := range boxes {
		spec, err := parseNet(arg)
		if err != nil {
			return nil, err
		}
		if spec.protocol != nil {
			return nil, usagef("%s: a protocol behind the weights, want scales only", arg)
		}
		m, err := localisers.read(spec.name)
		if err != nil {
			return nil, err
		}
		l.Nets = append(l.Nets, localize.Net{Model: m, Scales: spec.scales})
	}
	for _, name := range f.Classifier {
		m, err := classifiers.read(name)
		if err != nil {
			return nil, err
		}
		l.Classifiers = append(l.Classifiers, m)
	}
	if err := l.Check(); err != nil {
		return nil, usageError{err}
	}
	return l, nil
}

// classes returns the indices of the classes to find; nil for the most probable ones.
func (c *localizeImagesCommand) classes(l *localize.Locator) ([]int, error) {
	var classes []int
	for _, name := range c.Class {
		i := slices.Index(l.Classes(), name)
		if i < 0 {
			return nil, usagef("--class %q: not a class of the network, want one of its %d: %s", name, len(l.Classes()), strings.Join(l.Classes()[:min(10, len(l.Classes()))], ", "))
		}
		classes = append(classes, i)
	}
	if classes != nil || len(l.Classifiers) > 0 {
		return classes, nil
	}
	if !l.SingleClass() {
		return nil, usagef("no class for a network with a box for each class, want --classifier FILE or --class NAME")
	}
	return []int{localize.AnyClass}, nil
}

// locate finds the boxes of an image and draws them.
func (c *localizeImagesCommand) locate(e *environment, l *localize.Locator, classes []int, p picture, line *localizeLine) error {
	im, err := e.decodeImage(p, l.Orient(), c.pixels())
	if err != nil {
		return err
	}
	a, err := l.Dense(e.ctx, im)
	if err != nil {
		return err
	}
	line.Width, line.Height, line.Scales = im.W, im.H, l.Scales()
	line.Boxes = a.Show(localize.Choice{Classes: classes, Top: c.Top, All: c.AllBoxes, Unmerged: c.Unmerged})
	if c.Draw == "" {
		return nil
	}
	if err := writeFile(p.out, explain.Boxes(im, line.Boxes, c.DrawClasses, c.Unmerged).EncodePNG); err != nil {
		return &outputError{err}
	}
	return nil
}

// checkDraw names the pictures to draw. It returns an error if one would replace a file.
func (c *localizeImagesCommand) checkDraw(pictures []picture) error {
	if c.Draw == "" {
		return nil
	}
	var outputs []output
	inputs := namesOf([]string{c.Weights}, c.With, c.Classifier)
	if len(pictures) == 1 {
		pictures[0].out = c.Draw
	} else {
		nameOuts(c.Draw, pictures)
	}
	for _, p := range pictures {
		outputs = append(outputs, output{"--draw", p.out})
		inputs = append(inputs, p.name)
	}
	return c.overwriteFlag.check(outputs, inputs...)
}

// table shows the boxes as text.
func (l localizeLine) table() *report.Table {
	t := report.NewTable(append([]report.Column{left(l.File)}, rights("Probability", "x0", "y0", "x1", "y1", "Score", "Windows")...)...)
	for _, b := range l.Boxes {
		name, p := b.Class, "–"
		if name == "" {
			name = "object"
		}
		if b.Probability != nil {
			p = report.Percent(float64(*b.Probability))
		}
		row := append([]string{name, p}, figures(b.Box[:], "%.1f")...)
		t.Row(append(row, fmt.Sprintf("%.3g", b.Score), fmt.Sprint(b.Windows))...)
	}
	return t
}
