package perceptual

import (
	"context"
	"embed"
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// LPIPSVersion is the version of the heads that [LPIPS] returns.
const LPIPSVersion = "0.1"

// The heads are vgg.pth of weights/v0.1 in the package lpips 0.1.4 (Zhang et al., BSD-2-Clause).
//
//go:embed lpips/vgg.pth lpips/LICENSE
var lpipsFiles embed.FS

// lpipsLayers are the layers of configuration D that LPIPS compares.
var lpipsLayers = [...]string{"conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"}

// LPIPS returns the layers of LPIPS 0.1 with the published weights, for configuration D. They
// were fitted to torchvision's VGG-16, and only with its weights are distances those of the
// literature; see [Comparable].
func LPIPS() []Layer {
	heads, err := lpipsHeads()
	if err != nil {
		panic(err) // the file is part of the program
	}
	return heads
}

func lpipsHeads() ([]Layer, error) {
	f, err := weights.OpenFS(context.Background(), lpipsFiles, "lpips/vgg.pth")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var layers []Layer
	for i, name := range lpipsLayers {
		t, err := f.Read(fmt.Sprintf("lin%d.model.1.weight", i))
		if err != nil {
			return nil, err
		}
		layers = append(layers, Layer{name, t.Data})
	}
	return layers, nil
}

// LPIPSLicence returns the licence of the heads.
func LPIPSLicence() string {
	text, err := lpipsFiles.ReadFile("lpips/LICENSE")
	if err != nil {
		panic(err) // the file is part of the program
	}
	return string(text)
}

// Comparable tells whether LPIPS by the model's network is that of the literature: whether the
// weights are torchvision's configuration D, to which the heads were fitted, and take
// torchvision's pixels.
func Comparable(m *vgg.Model) bool {
	if m == nil || m.Provenance["release"] != "torchvision D" {
		return false
	}
	spec, err := preprocess.Preset("torchvision")
	return err == nil && m.Preprocess.SamePixels(spec)
}
