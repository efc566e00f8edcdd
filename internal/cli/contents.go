package cli

import (
	"github.com/verydeep/vgg/dataset"
)

// contents is what was understood of a collection of images, with the JSON keys of
// `vgg stats --json`.
type contents struct {
	Layout  string         `json:"layout"`
	Parts   map[string]int `json:"parts"`   // images; "all" without parts
	Skipped map[string]int `json:"skipped"` // by kind
	Empty   []string       `json:"empty"`   // class folders without images
}

func contentsOf(s *dataset.Source) contents {
	c := contents{Parts: map[string]int{}, Skipped: map[string]int{}, Empty: []string{}}
	if s == nil {
		return c
	}
	c.Layout = s.Layout
	for _, p := range s.Parts {
		name := p.Name
		if name == "" {
			name = "all"
		}
		c.Parts[name] += p.Images
	}
	for kind, n := range s.Skipped {
		c.Skipped[kind] = n
	}
	c.Empty = append(c.Empty, s.Empty...)
	return c
}

// leakFlag is shared by the commands that show what they read.
type leakFlag struct {
	CheckLeaks bool `help:"Look for near-duplicates between the parts, too, which decodes every image, and for equal files however many there are."`
}

// readFlags are shared by the commands that read a part of labelled images.
type readFlags struct {
	dataFlags
	leakFlag
	pixelsFlag
}

// leaks returns the validation images that are in the training part, too. Without
// --check-leaks o.MaxBytes bounds the bytes of files that are read; 0: no limit.
func (f leakFlag) leaks(e *environment, train, val *dataset.Dataset, o dataset.LeakOptions) (dataset.Leaks, error) {
	bar := e.newProgress()
	defer bar.close()
	o.Near, o.Progress = f.CheckLeaks, bar.stage("comparing the parts", unitImages)
	if f.CheckLeaks {
		o.MaxBytes = 0
	}
	return dataset.FindLeaks(e.ctx, train, val, o)
}
