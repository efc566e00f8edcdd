package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

type classifyCommand struct {
	Weights string   `arg:"" help:"File of weights, or a configuration's name for its public release, which is downloaded on first use."`
	Images  []string `arg:"" name:"image" help:"Image files, globs, or - for standard input."`
	Top     *int     `placeholder:"K" help:"Number of classes for each image (5; of a network of several labels an image, those from the threshold on)."`
	Scale   int      `placeholder:"S" help:"Smallest side to which images are rescaled before the crop, in pixels (as the weights tell)."`
	thresholdFlag
	modelFlags
	storageFlag
	pixelsFlag
	threadsFlag
	jsonFlag
}

func (classifyCommand) Help() string {
	return `Prints the most probable classes of each image, best first. The network sees the central crop.

  - Of a network of several labels an image (FC SIGMOID at the end of its head), the labels whose probability is at least the threshold are printed; with --top, the K most probable.
  - Of a network that ends with scores (SCORES), the classes with the highest scores.
  - Images are turned upright by their EXIF data, unless the weights or --orient tell otherwise.
  - An unreadable image has its error in the place of its classes.

Examples:

    vgg classify D photo.jpg
    vgg classify best.safetensors 'photos/*.jpg' --top 1 --json` + exitHelp
}

// classifyLine is a line of `vgg classify --json`.
type classifyLine struct {
	File string           `json:"file"`
	Top  []vgg.Prediction `json:"top,omitempty"`
	// Labels are those from the threshold on, of a network of several labels an image.
	Labels *[]vgg.Prediction `json:"labels,omitempty"`
	// Scores are in the place of Top where the network has no posteriors.
	Scores []classScore `json:"scores,omitempty"`
	Error  string       `json:"error,omitempty"`
}

// classScore is a class with its score.
type classScore struct {
	Class string  `json:"class"`
	Index int     `json:"index"`
	Score float32 `json:"score"`
}

func (c *classifyCommand) Run(e *environment) error {
	if c.Top != nil && *c.Top < 1 {
		return usagef("--top %d, want at least 1", *c.Top)
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return err
	}
	m, err := open.open(c.Weights)
	if err != nil {
		return err
	}
	scale := m.Preprocess.Resize
	if c.Scale != 0 {
		scale = c.Scale
	}
	if err := checkScales("--scale", m.Net.Options(), scale); err != nil {
		return err
	}
	thresholds, err := c.thresholds(m.Net.Options(), m.Classes, m.Thresholds)
	if err != nil {
		return err
	}
	return e.forEach(expand(c.Images), func(file string) (bad bool, err error) {
		line := classifyLine{File: file}
		if err = c.classify(e, m, thresholds, scale, &line); e.stops(err) {
			return false, fmt.Errorf("%s: %w", file, err)
		} else if err != nil {
			line.Error = err.Error()
		}
		return line.Error != "", e.printImage(c.JSON, line, file, line.Error, line.table)
	})
}

// classify completes the line of an image file, or of standard input. thresholds are those
// of labels, nil for a network of one class an image.
func (c *classifyCommand) classify(e *environment, m *vgg.Model, thresholds []float32, scale int, line *classifyLine) error {
	im, err := e.decodeImage(line.File, m.Preprocess.Orient, c.pixels())
	if err != nil {
		return err
	}
	const byDefault = 5
	if m.Net.Options().Posterior() == network.NoPosterior && !m.Net.Options().Headless() {
		s, err := m.Scores(im, scale)
		if err != nil {
			return err
		}
		n := byDefault
		if c.Top != nil {
			n = *c.Top
		}
		for _, t := range m.Top(s, n) {
			line.Scores = append(line.Scores, classScore{t.Class, t.Index, t.Probability})
		}
		return nil
	}
	p, err := m.Posteriors(im, scale)
	if err != nil {
		return err
	}
	if thresholds != nil {
		labels := []vgg.Prediction{}
		for _, t := range m.Top(p, len(p)) {
			if t.Probability >= thresholds[t.Index] {
				labels = append(labels, t)
			}
		}
		line.Labels = &labels
	}
	switch {
	case c.Top != nil:
		line.Top = m.Top(p, *c.Top)
	case thresholds == nil:
		line.Top = m.Top(p, byDefault)
	}
	return nil
}

// table shows the classes as text.
func (l classifyLine) table() *report.Table {
	if l.Scores != nil {
		t := report.NewTable(left(l.File), right("Score"))
		for _, s := range l.Scores {
			t.Row(s.Class, fmt.Sprintf("%.4g", s.Score))
		}
		return t
	}
	t := report.NewTable(left(l.File), right("Probability"))
	list := l.Top
	if list == nil && l.Labels != nil {
		if list = *l.Labels; len(list) == 0 {
			t.Row("none of the labels", "–")
		}
	}
	for _, p := range list {
		t.Row(p.Class, report.Percent(float64(p.Probability)))
	}
	return t
}

// decodeImage decodes an image file, or standard input for -. Its errors don't name the
// file.
func (e *environment) decodeImage(file string, o preprocess.Orient, maxPixels int) (*preprocess.Image, error) {
	var r io.Reader = &waitingReader{e.ctx, e.stdin}
	if file != "-" {
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			return nil, fmt.Errorf("a folder: name its images, as in %s, or measure the error on it with vgg eval", filepath.Join(file, "*.jpg"))
		}
		f, err := wholefile.Open(file)
		if err != nil {
			return nil, pathless(err)
		}
		defer f.Close()
		r = f
	}
	data, err := preprocess.Read(e.ctx, r)
	if err != nil {
		return nil, err
	}
	if h, err := preprocess.ReadHeader(data); err == nil && h.Grey16 {
		e.grey16.Do(func() { e.remark(preprocess.Grey16Remark) })
	}
	return preprocess.DecodeContext(e.ctx, data, preprocess.DecodeOptions{Orient: o, MaxPixels: maxPixels})
}

// waitingReader reads what may wait for ever, as a terminal or a pipe does, until ctx is done.
type waitingReader struct {
	ctx context.Context
	r   io.Reader
}

func (w *waitingReader) Read(p []byte) (int, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() { // it stays behind where r never returns, and p must not be its then
		own := make([]byte, min(len(p), 1<<16))
		n, err := w.r.Read(own)
		read <- result{own[:n], err}
	}()
	select {
	case r := <-read:
		return copy(p, r.data), r.err
	case <-w.ctx.Done():
		return 0, context.Cause(w.ctx)
	}
}

// pathless returns an error of package os without the file's name, for messages that begin
// with it.
func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// expand replaces globs that the shell left alone by the files that they match, sorted. Names
// of files, and globs that match nothing, stay.
func expand(args []string) []string {
	var files []string
	for _, a := range args {
		if _, err := os.Lstat(a); err == nil || !strings.ContainsAny(a, "*?[") {
			files = append(files, a)
			continue
		}
		matches, err := filepath.Glob(a)
		if err != nil || len(matches) == 0 {
			files = append(files, a)
			continue
		}
		slices.Sort(matches)
		files = append(files, matches...)
	}
	return files
}
