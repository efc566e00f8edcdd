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
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

type classifyCommand struct {
	Weights string   `arg:"" help:"File of weights, or a configuration's name for its public release, which is downloaded on first use."`
	Images  []string `arg:"" name:"image" help:"Image files, globs, or - for standard input."`
	Top     int      `default:"5" placeholder:"K" help:"Number of classes for each image (5)."`
	Scale   int      `placeholder:"S" help:"Smallest side to which images are rescaled before the crop, in pixels (as the weights tell)."`
	modelFlags
	storageFlag
	threadsFlag
	jsonFlag
}

func (classifyCommand) Help() string {
	return `Prints the most probable classes of each image, best first. The network sees the central crop.

  - Images are turned upright by their EXIF data, unless the weights or --orient tell otherwise.
  - An unreadable image has its error in the place of its classes.

Examples:

    vgg classify D photo.jpg
    vgg classify best.safetensors 'photos/*.jpg' --top 1 --json` + exitHelp
}

// classifyLine is a line of `vgg classify --json`.
type classifyLine struct {
	File  string           `json:"file"`
	Top   []vgg.Prediction `json:"top,omitempty"`
	Error string           `json:"error,omitempty"`
}

func (c *classifyCommand) Run(e *environment) error {
	if c.Top < 1 {
		return usagef("--top %d, want at least 1", c.Top)
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
	return e.forEach(expand(c.Images), func(file string) (bad bool, err error) {
		line := classifyLine{File: file}
		if line.Top, err = c.top(e, m, file, scale); e.stops(err) {
			return false, err
		} else if err != nil {
			line.Error = err.Error()
		}
		return line.Error != "", e.printImage(c.JSON, line, file, line.Error, line.table)
	})
}

// top returns the most probable classes of an image file, or of standard input.
func (c *classifyCommand) top(e *environment, m *vgg.Model, file string, scale int) ([]vgg.Prediction, error) {
	im, err := e.decodeImage(file, m.Preprocess.Orient)
	if err != nil {
		return nil, err
	}
	p, err := m.Posteriors(im, scale)
	if err != nil {
		return nil, err
	}
	return m.Top(p, c.Top), nil
}

// table shows the classes as text.
func (l classifyLine) table() *report.Table {
	t := report.NewTable(left(l.File), right("Probability"))
	for _, p := range l.Top {
		t.Row(p.Class, report.Percent(float64(p.Probability)))
	}
	return t
}

// decodeImage decodes an image file, or standard input for -. Its errors don't name the
// file.
func (e *environment) decodeImage(file string, o preprocess.Orient) (*preprocess.Image, error) {
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
	return preprocess.Decode(data, preprocess.DecodeOptions{Orient: o})
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
