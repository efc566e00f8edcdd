package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

type classifyCommand struct {
	Weights string   `arg:"" help:"File of weights of any format that vgg convert reads, or a configuration's name for its public release, which is downloaded on its first use."`
	Images  []string `arg:"" name:"image" help:"Image files, globs, or - for standard input."`
	Top     int      `default:"5" placeholder:"K" help:"Classes shown of each image (5)."`
	Scale   int      `placeholder:"S" help:"Smallest side, in pixels, that images are rescaled to before the central crop; the weights say unless given."`
	modelFlags
	storageFlag
	threadsFlag
	jsonFlag
}

func (classifyCommand) Help() string {
	return `Prints the most probable classes of each image, best first, by the central crop. Images are turned upright as their EXIF data says, unless the weights or --orient say that they are taken as they are stored. An image that can't be read has its error in its place, and the others go on.` + exitHelp
}

// classifyLine is what `vgg classify --json` prints of an image.
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
	m, err := c.open(e, c.Weights, c.FCWeights)
	if err != nil {
		return err
	}
	m.Net.SetThreads(threads)
	scale := m.Preprocess.Resize
	if c.Scale != 0 {
		scale = c.Scale
	}
	if side := m.Net.Options().Input; scale < side {
		return usagef("--scale %d, want at least the network's input side %d", scale, side)
	}
	files := expand(c.Images)
	bad := 0
	for _, file := range files {
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		line := classifyLine{File: file}
		p, err := e.classify(m, file, scale)
		if err != nil {
			bad++
			line.Error = err.Error()
		} else {
			line.Top = m.Top(p, c.Top)
		}
		if err := c.print(e, line); err != nil {
			return err
		}
	}
	return unreadable(bad, len(files))
}

func (c *classifyCommand) print(e *environment, line classifyLine) error {
	if c.JSON {
		return writeJSON(e.stdout, line)
	}
	if line.Error != "" {
		return e.skipped(line.File, line.Error)
	}
	t := report.NewTable(report.Column{Title: line.File}, report.Column{Title: "Probability", Align: report.Right})
	for _, p := range line.Top {
		t.Row(p.Class, report.Percent(float64(p.Probability)))
	}
	_, err := fmt.Fprintln(e.stdout, t)
	return err
}

// classify returns the class posteriors of an image file, or of standard input.
func (e *environment) classify(m *vgg.Model, file string, scale int) ([]float32, error) {
	data, err := e.readImage(file)
	if err != nil {
		return nil, err
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{Orient: m.Preprocess.Orient})
	if err != nil {
		return nil, err
	}
	return m.Posteriors(im, scale)
}

// readImage reads a whole file, but no endless one.
func (e *environment) readImage(file string) ([]byte, error) {
	const most = 1 << 28
	var r io.Reader = e.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, pathless(err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, fmt.Errorf("a folder: name its images, as in %s, or measure the error on it with vgg eval", filepath.Join(file, "*.jpg"))
		}
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	switch {
	case err != nil:
		return nil, pathless(err)
	case len(data) > most:
		return nil, fmt.Errorf("more than %s, want an image file", report.Bytes(most))
	}
	return data, nil
}

// pathless drops the file's name from an error of package os, where it stands in front
// already.
func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// expand replaces globs that the shell left alone by the files they match, sorted. What
// is a file's name as it stands, or matches nothing, stays.
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
