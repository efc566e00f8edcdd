package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/server"
	"github.com/verydeep/vgg/train"
	"github.com/verydeep/vgg/weights"
)

// served is a model of the command line.
type served struct {
	server.Source
	path string
}

// sources returns the models, or the folder that is watched for them.
func (c *serveCommand) sources(e *environment, threads int) (list []served, folder string, err error) {
	named := c.Weights
	if len(named) == 0 {
		latest, err := latestRun(c.Runs)
		if err != nil {
			return nil, "", err
		}
		named = []string{latest}
	}
	if len(named) == 1 {
		if info, err := os.Stat(named[0]); err == nil && info.IsDir() {
			if list, err = c.inFolder(e, named[0], threads); err != nil {
				return nil, "", err
			}
			if list != nil {
				return list, named[0], nil
			}
		}
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err == nil {
		err = open.compute(c.deviceFlags)
	}
	if err != nil {
		return nil, "", err
	}
	for _, text := range named {
		name, file, ok := strings.Cut(text, "=")
		if !ok || strings.ContainsAny(name, `/\`) {
			name, file = "", text
		}
		path, err := open.path(file)
		if err != nil {
			return nil, "", err
		}
		if name == "" {
			name = modelName(file)
		}
		list = append(list, c.source(open, name, path))
	}
	for i, s := range list {
		if slices.ContainsFunc(list[:i], func(o served) bool { return o.Name == s.Name }) {
			return nil, "", usagef("two models are called %s: name one otherwise, as in other=%s", s.Name, s.path)
		}
	}
	return list, "", nil
}

// source returns a model that is read with the options of the flags.
func (c *serveCommand) source(open *opener, name, path string) served {
	options := open.options
	options.Described = func(d *vgg.Description) { open.env.reportIgnored(path, d) }
	return served{server.Source{
		Name: name,
		Open: func(ctx context.Context) (*vgg.Model, error) {
			m, err := vgg.Open(ctx, path, options)
			if err != nil {
				return nil, notWeights(path, err)
			}
			open.place(m)
			return m, nil
		},
		Stamp: func() (string, error) { return stampOf(path) },
	}, path}
}

// stampOf tells a file from another that has taken its place.
func stampOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano()), nil
}

// modelName returns the name of a model without another.
func modelName(file string) string {
	base := filepath.Base(file)
	if base == train.BestFile || base == "last.safetensors" { // of a run: the run's name tells more
		if dir := filepath.Base(filepath.Dir(file)); dir != "." && dir != string(filepath.Separator) {
			return dir
		}
	}
	return strings.TrimSuffix(strings.TrimSuffix(base, filepath.Ext(base)), ".weights")
}

// inFolder returns the models of a folder: its files of weights.
func (c *serveCommand) inFolder(e *environment, dir string, threads int) ([]served, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err == nil {
		err = open.compute(c.deviceFlags)
	}
	if err != nil {
		return nil, err
	}
	var files []string
	named := map[string]int{} // files by the name of their model
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || strings.HasPrefix(entry.Name(), ".") || !weights.NamesFile(entry.Name()) {
			continue
		}
		files = append(files, path)
		named[modelName(path)]++
	}
	var list []served
	for _, path := range files {
		name := modelName(path)
		if named[name] > 1 { // d.onnx beside d.h5
			name = filepath.Base(path)
		}
		list = append(list, c.source(open, name, path))
	}
	return list, nil
}

// latestRun returns the network that vgg train left last.
func latestRun(runs string) (string, error) {
	entries, err := os.ReadDir(runs)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	best, when := "", time.Time{}
	for _, entry := range entries {
		path := filepath.Join(runs, entry.Name(), train.BestFile)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.ModTime().After(when) {
			best, when = path, info.ModTime()
		}
	}
	if best == "" {
		return "", usagef("no model: name a file of weights (vgg serve best.safetensors) or a public release (vgg serve D), or train a network first (vgg train), whose weights are then found in %s", runs)
	}
	return best, nil
}
