// Package releases lists the public releases of VGG weights: where each one is published,
// how its files are told apart, what they hold and how its network wants its pixels.
package releases

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// Release is a public release of VGG weights, trained on ILSVRC-2012.
type Release struct {
	Name   string `json:"name"`   // the configuration
	Source string `json:"source"` // torchvision, keras or caffe
	// File is the name under which it is downloaded, as people keep it.
	File string `json:"file"`
	URL  string `json:"url"`
	// SHA256 is the beginning of the file's SHA-256, or MD5 its MD5, in hexadecimal, as
	// its publisher gives it; both empty where none is published.
	SHA256 string `json:"sha256,omitempty"`
	MD5    string `json:"md5,omitempty"`
	// Bytes is the size of the file; 0 where it isn't known.
	Bytes int64 `json:"bytes,omitempty"`
	// Headless releases have no usable classifier.
	Headless bool `json:"headless,omitempty"`
	// Parameters is the number of weights and biases, without those of an unusable
	// classifier.
	Parameters int64 `json:"parameters"`
	// Top1 and Top5 are the published accuracies, as fractions, by the central crop of 224
	// pixels of 256, of Caffe's releases by the paper's dense multi-scale evaluation; 0
	// where none is published.
	Top1       float64         `json:"top1_accuracy,omitempty"`
	Top5       float64         `json:"top5_accuracy,omitempty"`
	Preprocess preprocess.Spec `json:"preprocess"`
	Licence    string          `json:"licence"`
}

// All lists the public releases.
func All() []Release {
	var list []Release
	for _, r := range releaseTable {
		spec, err := preprocess.Preset(r.preprocess)
		if err != nil {
			spec = authorsTorchvision()
		}
		spec.Orient = preprocess.Upright // photographs are meant
		list = append(list, Release{
			Name: r.name, Source: r.source, File: r.file, URL: releaseBase[r.source] + r.folder + r.file,
			SHA256: r.sha256, MD5: r.md5, Bytes: releaseBytes[r.file], Headless: r.headless, Parameters: r.parameters,
			Top1: fraction(r.top1), Top5: fraction(r.top5), Preprocess: spec, Licence: releaseLicence[r.source],
		})
	}
	return list
}

// fraction converts a percentage of three decimals to a fraction of five.
func fraction(percent float64) float64 { return math.Round(percent*1000) / 1e5 }

// authorsTorchvision returns the preprocessing of vgg16_features, which are the authors'
// weights for torchvision's order of channels and range of pixels: their mean, and 1/255
// in place of a standard deviation.
func authorsTorchvision() preprocess.Spec {
	return preprocess.Spec{
		Name: "vgg16_features", Scale: 1.0 / 255,
		Mean: [3]float32{0.48235, 0.45882, 0.40784}, Std: [3]float32{1.0 / 255, 1.0 / 255, 1.0 / 255},
		Filter: preprocess.Bilinear, Crop: 224, Resize: 256,
	}
}

var releaseBase = map[string]string{
	"torchvision": "https://download.pytorch.org/models/",
	"keras":       "https://storage.googleapis.com/tensorflow/keras-applications/",
	"caffe":       "https://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/",
}

var releaseLicence = map[string]string{
	"torchvision": "BSD-3-Clause (torchvision)",
	"keras":       "MIT (Keras); weights of the authors, CC BY 4.0",
	"caffe":       "CC BY 4.0",
}

// releaseTable holds what the publishers say of their releases.
var releaseTable = []struct {
	name, source, folder, file string
	sha256, md5                string
	parameters                 int64
	top1, top5                 float64 // per cent
	preprocess                 string
	headless                   bool
}{
	{"A", "torchvision", "", "vgg11-8a719046.pth", "8a719046", "", 132_863_336, 69.020, 88.628, "torchvision", false},
	{"B", "torchvision", "", "vgg13-19584684.pth", "19584684", "", 133_047_848, 69.928, 89.246, "torchvision", false},
	{"D", "torchvision", "", "vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", "", 138_357_544, 71.592, 90.382, "torchvision", false},
	{"E", "torchvision", "", "vgg19-dcbb9e9d.pth", "dcbb9e9d", "", 143_667_240, 72.376, 90.876, "torchvision", false},
	{"A-BN", "torchvision", "", "vgg11_bn-6002323d.pth", "6002323d", "", 132_868_840, 70.370, 89.810, "torchvision", false},
	{"B-BN", "torchvision", "", "vgg13_bn-abd245e5.pth", "abd245e5", "", 133_053_736, 71.586, 90.374, "torchvision", false},
	{"D-BN", "torchvision", "", "vgg16_bn-6c64b313.pth", "6c64b313", "", 138_365_992, 73.360, 91.516, "torchvision", false},
	{"E-BN", "torchvision", "", "vgg19_bn-c79401a0.pth", "c79401a0", "", 143_678_248, 74.218, 91.842, "torchvision", false},
	{"D", "torchvision", "", "vgg16_features-amdegroot-88682ab5.pth", "88682ab5", "", 14_714_688, 0, 0, "", true},
	{"D", "keras", "vgg16/", "vgg16_weights_tf_dim_ordering_tf_kernels.h5", "", "64373286793e3c8b2b4e3219cbf3544b", 138_357_544, 71.3, 90.1, "keras", false},
	{"D", "keras", "vgg16/", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "", "6d6bbae143d832006294945121d1f1fc", 14_714_688, 0, 0, "keras", true},
	{"E", "keras", "vgg19/", "vgg19_weights_tf_dim_ordering_tf_kernels.h5", "", "cbe5617147190e668d6c5d5026f83318", 143_667_240, 71.3, 90.0, "keras", false},
	{"E", "keras", "vgg19/", "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "", "253f8cb515780f3b799900260a226db6", 20_024_384, 0, 0, "keras", true},
	{"D", "caffe", "", "VGG_ILSVRC_16_layers.caffemodel", "", "", 138_357_544, 75.2, 92.5, "caffe", false},
	{"E", "caffe", "", "VGG_ILSVRC_19_layers.caffemodel", "", "", 143_667_240, 75.2, 92.5, "caffe", false},
}

// releaseBytes are the sizes of files that programs report as they download them. A file of
// another size needn't be hashed to know that it is not the release.
var releaseBytes = map[string]int64{
	"vgg16-397923af.pth":    553_433_881,
	"vgg19-dcbb9e9d.pth":    574_673_361,
	"vgg16_bn-6c64b313.pth": 553_507_836,
	"vgg19_bn-c79401a0.pth": 574_769_405,
}

// formatOf is the format of a source's files.
var formatOf = map[string]weights.Format{"torchvision": weights.PyTorch, "keras": weights.Keras, "caffe": weights.CaffeModel}

// featuresSuffixes mark the name of a release without a classifier.
var featuresSuffixes = []string{"-features", "_features", "-notop", "_notop"}

// Find returns the release of a configuration from a source: torchvision, keras or caffe.
// The name is a configuration's, such as D or vgg16_bn, with -features behind it for a
// release without a classifier. The error lists the source's releases.
func Find(name, source string) (Release, error) {
	config, headless := name, false
	for _, s := range featuresSuffixes {
		if c, ok := strings.CutSuffix(name, s); ok {
			config, headless = c, true
		}
	}
	canonical, err := architecture.Canonical(config)
	if err != nil {
		return Release{}, err
	}
	var names []string
	for _, r := range All() {
		if r.Source != source {
			continue
		}
		if r.Name == canonical && r.Headless == headless {
			return r, nil
		}
		names = append(names, r.FullName())
	}
	if names == nil {
		return Release{}, fmt.Errorf("releases: source %q, want torchvision, keras or caffe", source)
	}
	return Release{}, fmt.Errorf("releases: no release of %s by %s, want one of %s", name, source, strings.Join(names, ", "))
}

// FullName is the release's name as [Find] takes it.
func (r Release) FullName() string {
	if r.Headless {
		return r.Name + "-features"
	}
	return r.Name
}

// Identify recognises a release in a file that holds configuration config, of full width
// and with the paper's sizes, by the file's name or, under another name, by its published
// SHA-256. headless says whether the file has no usable classifier. A file of the size of none
// of them isn't hashed. It returns nil if the file is none.
func Identify(ctx context.Context, f *weights.File, config string, headless bool) (*Release, error) {
	var alike []Release
	for _, r := range All() {
		if formatOf[r.Source] != f.Format() || r.Name != config || r.Headless != headless {
			continue
		}
		if filepath.Base(f.Name()) == r.File {
			return &r, nil
		}
		if r.SHA256 != "" && (r.Bytes == 0 || r.Bytes == f.Size()) {
			alike = append(alike, r)
		}
	}
	if len(alike) == 0 {
		return nil, nil
	}
	sum, err := f.SHA256(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range alike {
		if strings.HasPrefix(sum, r.SHA256) {
			return &r, nil
		}
	}
	return nil, nil
}
