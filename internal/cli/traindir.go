package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/train"
)

// continuing returns the end of a message on an interrupted run: the command that continues
// it.
func (c *trainCommand) continuing(dir string) string {
	if c.Keep == 0 {
		return ""
	}
	command := "train"
	if c.boxes != nil {
		command = "localize train"
	}
	return fmt.Sprintf("; %s %s --resume --out %s continues from there", program(), command, quoted(dir))
}

// Keys of a checkpoint's note.
const (
	noteData       = "data"        // folder of images
	noteMultiLabel = "multi_label" // set if --multi-label was given
	noteLayout     = "layout"      // of --layout, if it was given
	notePattern    = "label_pattern"
	noteMap        = "map"     // file of --map
	noteColumns    = "columns" // of the table beside the images
)

// checkpoint describes the checkpoint from which the run continues; nil if it starts.
func (c *trainCommand) checkpoint(ctx context.Context) (*train.CheckpointInfo, error) {
	switch {
	case !c.Resume:
		return nil, nil
	case c.Out == "":
		return nil, usagef("--resume without --out DIR, want the run directory")
	case c.Keep == 0:
		return nil, usagef("--resume with --keep 0: a run without checkpoints can't continue")
	}
	from, err := train.LatestCheckpoint(ctx, c.Out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &from, c.takeNote(from.Note)
}

// takeNote completes the command line by a checkpoint's note.
func (c *trainCommand) takeNote(note map[string]string) error {
	if c.Data == "" {
		c.Data = note[noteData]
		if c.Columns == (dataset.Columns{}) {
			if err := c.Columns.UnmarshalText([]byte(note[noteColumns])); err != nil {
				return err
			}
		}
	}
	if note[noteLayout] != "" && c.Layout == autoLayout {
		c.Layout = note[noteLayout]
	}
	if c.LabelPattern == "" {
		c.LabelPattern = note[notePattern]
	}
	c.MultiLabel = c.MultiLabel || note[noteMultiLabel] != ""
	if c.Map == "" {
		c.Map = note[noteMap]
	}
	return nil
}

// absolute returns the absolute path of a set of images, or its address without a signature.
func absolute(set string) (string, error) {
	if remote.IsAddress(set) {
		return remote.Plain(set), nil
	}
	return filepath.Abs(set)
}

// note returns the part of the command line that checkpoints keep.
func (c *trainCommand) note() (map[string]string, error) {
	note, err := map[string]string{noteData: sampleName}, error(nil)
	if c.MultiLabel {
		note[noteMultiLabel] = "true"
	}
	if c.Layout != autoLayout {
		note[noteLayout] = c.Layout
	}
	if c.LabelPattern != "" {
		note[notePattern] = c.LabelPattern
	}
	if c.Map != "" {
		if note[noteMap], err = filepath.Abs(c.Map); err != nil {
			return nil, err
		}
	}
	if c.sample() {
		return note, nil
	}
	note[noteData], err = absolute(c.Data)
	if c.Columns != (dataset.Columns{}) {
		note[noteColumns] = c.Columns.String()
	}
	if c.boxes != nil {
		err = errors.Join(err, c.boxes.note(note))
	}
	return note, err
}

// runDir makes the run directory.
func (c *trainCommand) runDir() (string, error) {
	if c.Out != "" {
		if c.Resume {
			return c.Out, os.MkdirAll(c.Out, 0o777)
		}
		_, err := makeEmpty(c.Out, train.Held, "a new or empty one, or --resume")
		return c.Out, err
	}
	name := sampleName
	if !c.sample() {
		path, err := absolute(c.Data)
		if err != nil {
			return "", err
		}
		name = filepath.Base(path)
		if remote.IsAddress(path) { // of a pattern: the folder's, as the files' have what no name has
			name = filepath.Base(filepath.Dir(path))
		}
	}
	if err := os.MkdirAll("runs", 0o777); err != nil {
		return "", err
	}
	stem := filepath.Join("runs", name+"-"+time.Now().Format("20060102-150405"))
	for n := 1; ; n++ {
		dir := stem
		if n > 1 {
			dir = fmt.Sprintf("%s-%d", stem, n)
		}
		if err := os.Mkdir(dir, 0o777); !errors.Is(err, os.ErrExist) {
			return dir, err
		}
	}
}
