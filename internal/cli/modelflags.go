package cli

import (
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

// modelFlags are shared by the commands that take weights from anywhere.
type modelFlags struct {
	fileFlags
	releaseFlags
}

// fileFlags complete what a file of weights doesn't tell about itself.
type fileFlags struct {
	Preprocess string `placeholder:"NAME" help:"Preprocessing of the weights: vgg, caffe, keras, torchvision, unit (pixel/255) or a JSON object. caffe and keras also mean that weights from elsewhere take BGR (as the weights tell)."`
	Labels     string `placeholder:"FILE" help:"Class names: imagenet, or a file with one name a line or a JSON list (as the weights tell)."`
	Head       string `placeholder:"ROW" help:"Head, the layers after the convolutions: 'gap FC', 'FC256 bn relu FC', 'gap FC1 sigmoid' (as the tensors tell)."`
	Input      int    `placeholder:"PIXELS" help:"Side of the network's square input (as the tensors tell)."`
	Config     string `placeholder:"CONFIG" help:"Configuration, or a row of layers (as the tensors tell)."`
	leftoverFlags
	shownFlags
}

// shownFlags tell how image files are shown to a network.
type shownFlags struct {
	Resize *preprocess.Fit    `placeholder:"HOW" help:"Rescaling: keep keeps the aspect of images, squash makes them square. Without a scale, squash takes the crop's side (as the weights tell)."`
	Orient *preprocess.Orient `placeholder:"WAY" help:"Orientation: upright turns images by their EXIF data, stored ignores it, as published figures do (as the weights tell, else upright)."`
}

// options returns what the flags tell of a file.
func (f fileFlags) options() (vgg.OpenOptions, error) {
	o := vgg.OpenOptions{Preprocess: f.Preprocess, Config: f.Config, Head: f.Head, Input: f.Input, Ignore: f.Ignore, Prefix: f.Prefix, Fit: f.Resize, Orient: f.Orient}
	if f.Head != "" {
		if _, err := architecture.ParseHead(f.Head); err != nil {
			return o, usageError{err}
		}
	}
	if f.Input < 0 || f.Input > network.MaxInput {
		return o, usagef("--input %d, want 1 to %d", f.Input, network.MaxInput)
	}
	if f.Preprocess != "" {
		if err := vgg.CheckPreprocess(f.Preprocess); err != nil {
			return o, usageError{err}
		}
	}
	if f.Config != "" {
		if _, err := architecture.Canonical(f.Config); err != nil {
			return o, usageError{err}
		}
	}
	if f.Labels != "" {
		var err error
		if o.Classes, err = readLabels(f.Labels); err != nil {
			return o, fmt.Errorf("--labels %s: %w", f.Labels, err)
		}
	}
	return o, nil
}

// readLabels reads class names from a file in a form of [vgg.ParseClasses]. The word imagenet
// stands for ImageNet's.
func readLabels(file string) ([]string, error) {
	if file == "imagenet" {
		return vgg.ImageNetClasses(), nil
	}
	data, err := wholefile.Read(file, wholefile.MaxText)
	if err != nil {
		return nil, pathless(err)
	}
	return vgg.ParseClasses(data)
}
