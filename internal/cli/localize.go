package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

type localizeCommand struct {
	Images localizeImagesCommand `cmd:"" default:"withargs" help:"Find the boxes of objects in photographs (the word images may be left out)."`
	Train  localizeTrainCommand  `cmd:"" help:"Fine-tune a classification network to give boxes."`
	Eval   localizeEvalCommand   `cmd:"" help:"Measure the localisation error on images with boxes."`
}

type localizeImagesCommand struct {
	Images   []string `arg:"" name:"image" help:"Image files, globs, or - for standard input."`
	Boxes    []string `required:"" sep:"none" placeholder:"FILE" help:"Localisation network that vgg localize train made, with its scales behind it if need be: PCR.safetensors@256,384. Given more than once, their boxes are merged."`
	Class    []string `sep:"none" placeholder:"NAME" help:"Class to find the box of, in place of the most probable ones. Can be given more than once."`
	Top      int      `default:"5" placeholder:"K" help:"Classes whose boxes are shown (5)."`
	All      bool     `help:"Every merged box of each class, not only the best."`
	Unmerged bool     `help:"The box of every window, before merging."`
	Draw     string   `placeholder:"FILE" help:"Draw the boxes on the image, a PNG; of several images, with their names before the file's."`
	DrawBest int      `default:"1" placeholder:"K" help:"Classes that are drawn, of those shown (1)."`
	storageFlag
	denseFlags
	threadsFlag
	jsonFlag
}

// denseFlags choose how boxes are rated and merged.
type denseFlags struct {
	releaseFlags
	Classifier []string `sep:"none" placeholder:"WEIGHTS" help:"Classification network that rates the boxes, a file or a release such as D: the one that the localisation network was trained from. Given more than once, posteriors are averaged."`
	Merge      float64  `default:"${merge}" placeholder:"SCORE" help:"Match score from which on boxes are left apart: distance of the centres in units of the boxes' side, plus 1 − IoU; 0: nothing is merged (${merge})."`
}

func (localizeImagesCommand) Help() string {
	return `Runs the localisation network densely over the whole image; every window gives a box, and boxes that match are merged greedily. The classifier names the most probable classes and rates each box by the sum of its posteriors in the box's windows. Without one, name the classes, or let a single-class network give the box of the object whatever it is, rated by the number of windows. Boxes are x0, y0, x1, y1 in pixels of the image, turned upright as its EXIF data says. An image that can't be read has its error in its place, and the others go on.` + exitHelp
}

// localizeLine is what `vgg localize --json` prints of an image.
type localizeLine struct {
	File   string        `json:"file"`
	Width  int           `json:"width,omitempty"`
	Height int           `json:"height,omitempty"`
	Boxes  []localizeBox `json:"boxes"`
	Error  string        `json:"error,omitempty"`
}

type localizeBox struct {
	Class       string     `json:"class,omitempty"` // none: whatever it is
	Index       *int       `json:"index,omitempty"`
	Probability *float32   `json:"probability,omitempty"` // of the class, in the image
	Box         [4]float64 `json:"box"`
	Score       float64    `json:"score"`
	Windows     int        `json:"windows"`
}

func (c *localizeImagesCommand) Run(e *environment) error {
	switch {
	case c.Top < 1:
		return usagef("--top %d, want at least 1", c.Top)
	case c.All && c.Unmerged:
		return usagef("--all and --unmerged both, want one of them")
	case c.DrawBest < 1:
		return usagef("--draw-best %d, want at least 1", c.DrawBest)
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	l, err := c.locator(e, c.Boxes, c.FCWeights, threads)
	if err != nil {
		return err
	}
	classes, err := c.classes(l)
	if err != nil {
		return err
	}
	files := expand(c.Images)
	bad := 0
	for _, file := range files {
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		line := localizeLine{File: file, Boxes: []localizeBox{}}
		if err := c.locate(e, l, classes, &line, len(files) > 1); err != nil {
			bad++
			line.Error = err.Error()
		}
		if err := c.print(e, line); err != nil {
			return err
		}
	}
	return unreadable(bad, len(files))
}

// locator opens the networks.
func (f denseFlags) locator(e *environment, boxes []string, fc nn.Storage, threads int) (*localize.Locator, error) {
	l := &localize.Locator{Threshold: f.Merge}
	switch {
	case f.Merge == 0:
		l.Threshold = localize.NoMerge
	case !(f.Merge > 0):
		return nil, usagef("localize: merge threshold %v, want at least 0", f.Merge)
	}
	for _, arg := range boxes {
		spec, err := parseNet(arg)
		if err != nil {
			return nil, err
		}
		if spec.protocol != nil {
			return nil, usagef("%s: a protocol behind the weights, want scales alone", arg)
		}
		m, err := f.open(e, spec.file, vgg.OpenOptions{Localiser: true, FCStorage: fc})
		if err != nil {
			return nil, err
		}
		m.Net.SetThreads(threads)
		l.Nets = append(l.Nets, localize.Net{Model: m, Scales: spec.scales})
	}
	for _, file := range f.Classifier {
		m, err := f.open(e, file, vgg.OpenOptions{FCStorage: fc})
		if err != nil {
			return nil, err
		}
		m.Net.SetThreads(threads)
		l.Classifiers = append(l.Classifiers, m)
	}
	if err := l.Check(); err != nil {
		return nil, usageError{err}
	}
	return l, nil
}

// classes are the classes to find, by index; nil: the most probable ones.
func (c *localizeImagesCommand) classes(l *localize.Locator) ([]int, error) {
	var classes []int
	for _, name := range c.Class {
		i := slices.Index(l.Classes(), name)
		if i < 0 {
			return nil, usagef("--class %q: the network knows no such class, want one of its %d: %s", name, len(l.Classes()), strings.Join(l.Classes()[:min(10, len(l.Classes()))], ", "))
		}
		classes = append(classes, i)
	}
	if classes != nil || len(l.Classifiers) > 0 {
		return classes, nil
	}
	if !l.SingleClass() {
		return nil, usagef("a network with a box for each class wants to be told which: --classifier FILE, or --class NAME")
	}
	return []int{anyClass}, nil
}

// anyClass stands for the object, whatever it is.
const anyClass = -1

// locate finds the boxes of an image and draws them.
func (c *localizeImagesCommand) locate(e *environment, l *localize.Locator, classes []int, line *localizeLine, many bool) error {
	data, err := e.readImage(line.File)
	if err != nil {
		return err
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{AutoOrient: true})
	if err != nil {
		return err
	}
	a, err := l.Dense(e.ctx, im)
	if err != nil {
		return err
	}
	line.Width, line.Height = im.W, im.H
	if classes == nil {
		for _, p := range (&vgg.Model{Classes: l.Classes()}).Top(a.Posterior, c.Top) {
			classes = append(classes, p.Index)
		}
	}
	picture := report.BoxImage{W: im.W, H: im.H, Pix: im.Pix}
	for rank, class := range classes {
		for i, d := range c.found(a, class) {
			b := localizeBox{Box: d.Box, Score: d.Score, Windows: d.Windows}
			label := ""
			if class != anyClass {
				b.Class, b.Index = l.Classes()[class], &class
				label = b.Class
				if a.Posterior != nil {
					b.Probability = &a.Posterior[class]
					label += " " + report.Percent(float64(a.Posterior[class]))
				}
			}
			line.Boxes = append(line.Boxes, b)
			if rank < c.DrawBest {
				if i > 0 {
					label = ""
				}
				picture.Boxes = append(picture.Boxes, report.DrawnBox{Box: d.Box, Label: label, Tone: rank, Thin: c.Unmerged || i > 0})
			}
		}
	}
	if c.Draw == "" {
		return nil
	}
	slices.Reverse(picture.Boxes) // the best one on top
	out := c.Draw
	if many {
		base := filepath.Base(line.File)
		out = filepath.Join(filepath.Dir(c.Draw), strings.TrimSuffix(base, filepath.Ext(base))+"-"+filepath.Base(c.Draw))
	}
	return writeFile(out, picture.EncodePNG)
}

// found are the boxes of a class that are wanted.
func (c *localizeImagesCommand) found(a *localize.Answer, class int) []localize.Detection {
	class = max(class, 0) // by single-class regression all classes have the same
	if c.Unmerged {
		return a.Unmerged(class)
	}
	found := a.Boxes(class)
	if !c.All {
		found = found[:min(1, len(found))]
	}
	return found
}

func (c *localizeImagesCommand) print(e *environment, line localizeLine) error {
	if c.JSON {
		return writeJSON(e.stdout, line)
	}
	if line.Error != "" {
		return e.skipped(line.File, line.Error)
	}
	columns := []report.Column{{Title: line.File}}
	for _, title := range []string{"Probability", "x0", "y0", "x1", "y1", "Score", "Windows"} {
		columns = append(columns, report.Column{Title: title, Align: report.Right})
	}
	t := report.NewTable(columns...)
	for _, b := range line.Boxes {
		name, p := b.Class, "–"
		if name == "" {
			name = "object"
		}
		if b.Probability != nil {
			p = report.Percent(float64(*b.Probability))
		}
		row := []string{name, p}
		for _, x := range b.Box {
			row = append(row, fmt.Sprintf("%.1f", x))
		}
		t.Row(append(row, fmt.Sprintf("%.3g", b.Score), fmt.Sprint(b.Windows))...)
	}
	_, err := fmt.Fprintln(e.stdout, t)
	return err
}
