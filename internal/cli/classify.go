package cli

import (
	"errors"
	"fmt"
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

  - Images are turned upright by their EXIF data.
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
	files := expand(c.Images)
	bad := 0
	for _, file := range files {
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		line := classifyLine{File: file}
		if line.Top, err = c.top(e, m, file, scale); err != nil {
			bad++
			line.Error = err.Error()
		}
		if err := c.print(e, line); err != nil {
			return err
		}
	}
	return unreadable(bad, len(files))
}

// top returns the most probable classes of an image file, or of standard input.
func (c *classifyCommand) top(e *environment, m *vgg.Model, file string, scale int) ([]vgg.Prediction, error) {
	im, err := e.decodeImage(file)
	if err != nil {
		return nil, err
	}
	p, err := m.Posteriors(im, scale)
	if err != nil {
		return nil, err
	}
	return m.Top(p, c.Top), nil
}

func (c *classifyCommand) print(e *environment, line classifyLine) error {
	if c.JSON {
		return writeJSON(e.stdout, line)
	}
	if line.Error != "" {
		return e.skipped(line.File, line.Error)
	}
	t := report.NewTable(left(line.File), right("Probability"))
	for _, p := range line.Top {
		t.Row(p.Class, report.Percent(float64(p.Probability)))
	}
	_, err := fmt.Fprintln(e.stdout, t)
	return err
}

// decodeImage decodes an image file, or standard input for -. Its errors don't name the
// file.
func (e *environment) decodeImage(file string) (*preprocess.Image, error) {
	r := e.stdin
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
	return preprocess.DecodeReader(r, preprocess.DecodeOptions{AutoOrient: true})
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
