package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/lockfile"
)

// overwriteFlag is shared by the commands that write files in one go. A file that a run
// continues from tells itself whether it is that run's.
type overwriteFlag struct {
	Overwrite bool `help:"Replace output files that exist."`
}

// output is a file that a command will write: the flag that names it, or "" for an argument,
// and its path, "" for none.
type output struct{ flag, path string }

func (o output) String() string {
	if o.flag == "" {
		return o.path
	}
	return o.flag + " " + o.path
}

// asPNG returns an error if the name of a picture that is written as PNG says that it is another
// kind of file.
func asPNG(o output) error {
	if o.path == "" || atomicfile.IsStream(o.path) || strings.EqualFold(filepath.Ext(o.path), ".png") {
		return nil
	}
	return usagef("%v, want FILE.png: the picture is a PNG, which other programs convert", o)
}

// claim is check, and keeps other processes from writing the outputs until release is
// called. Commands claim their outputs before long work.
func (f overwriteFlag) claim(outputs []output, inputs ...string) (release func(), err error) {
	if err := distinct(outputs, inputs); err != nil {
		return nil, err
	}
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	for _, o := range outputs {
		if o.path == "" || atomicfile.IsStream(o.path) {
			continue
		}
		if err = o.folder(); err != nil {
			release()
			return nil, err
		}
		r, err := lockfile.Beside(o.path)
		if err == nil {
			releases = append(releases, r)
			err = f.free(o)
		}
		if err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

// check returns an error if an output is also an input, by whatever name, or another output,
// or if it exists and may not be replaced.
func (f overwriteFlag) check(outputs []output, inputs ...string) error {
	if err := distinct(outputs, inputs); err != nil {
		return err
	}
	for _, o := range outputs {
		if o.path == "" || atomicfile.IsStream(o.path) {
			continue
		}
		if err := errors.Join(o.folder(), f.free(o)); err != nil {
			return err
		}
	}
	return nil
}

// folder returns an error if an output's folder isn't there.
func (o output) folder() error {
	dir := filepath.Dir(o.path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%v: there is no folder %s: make it first, or want another name", o, dir)
	}
	return nil
}

// free returns an error if an output exists and may not be replaced.
func (f overwriteFlag) free(o output) error {
	info, err := os.Stat(o.path)
	switch {
	case err != nil: // writing it tells
		return nil
	case info.IsDir():
		return fmt.Errorf("%v: a folder, want a file", o)
	case !f.Overwrite:
		return fmt.Errorf("%v: exists already: want another name, or --overwrite to replace it", o)
	}
	return nil
}

// distinct returns an error if an output is an input or another output. Links, other
// spellings of the path and of its case count as the same file.
func distinct(outputs []output, inputs []string) error {
	type input struct {
		path string
		info fs.FileInfo
	}
	var read []input
	for _, in := range inputs {
		if info, err := os.Stat(in); err == nil && info.Mode().IsRegular() {
			read = append(read, input{in, info})
		}
	}
	seen := map[string]output{}
	for _, o := range outputs {
		if o.path == "" || atomicfile.IsStream(o.path) {
			continue
		}
		if info, err := os.Stat(o.path); err == nil {
			for _, in := range read {
				if os.SameFile(in.info, info) {
					return fmt.Errorf("%v: the same file as the input %s: want another name", o, in.path)
				}
			}
		}
		real, err := realPath(o.path)
		if err != nil {
			return err
		}
		if other, ok := seen[real]; ok {
			return fmt.Errorf("%v: the same file as %v: want another name", o, other)
		}
		seen[real] = o
	}
	return nil
}

// namesOf returns the files of weights that arguments name, without the scales behind them.
func namesOf(args ...[]string) []string {
	var names []string
	for _, list := range args {
		for _, arg := range list {
			if spec, err := parseNet(arg); err == nil {
				names = append(names, spec.name)
			}
		}
	}
	return names
}
