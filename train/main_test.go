package train

import (
	"fmt"
	"image/color"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// tinyRecipe trains A at a sixteenth of its width on 32×32 crops.
func tinyRecipe() Recipe {
	return Recipe{
		Config: "A", Width: 1.0 / 16, FC: 16, Input: 32, Dropout: 0.5, LRN: nn.Krizhevsky, Init: network.He,
		InitRule: Auto, Freeze: []string{}, LayerRates: []string{},
		Batch: 4, Groups: 1, Epochs: 2, MaxIterations: 1000, LearningRate: 1e-2, Momentum: 0.9, WeightDecay: 5e-4, DecayBiases: true,
		Schedule: Schedule{Name: "step", Factor: 0.1, Decreases: 1, Patience: 1, Threshold: 1e-3, Steps: []int{}, WarmupFactor: 0.1},
		ScaleMin: 32, ScaleMax: 40, Flip: true, ColourShift: 0.1, Filter: preprocess.Bilinear, Standardise: true, TestScale: 36,
		Winograd: 6, Seed: 1,
	}
}

// colours is a dataset of n pictures of noise, tinted in the colour of their class
// (red, green, blue in turn). Those in bad are text.
func colours(t testing.TB, name string, n int, bad ...int) *dataset.Dataset {
	t.Helper()
	files := fstest.MapFS{}
	var samples []dataset.Sample
	for i := range n {
		file := fmt.Sprintf("%02d.png", i)
		files[file] = &fstest.MapFile{Data: tinted(i%3, uint64(i))}
		samples = append(samples, dataset.Sample{Name: file, Label: i % 3})
	}
	for _, i := range bad {
		files[samples[i].Name].Data = []byte("this is no image\n")
	}
	d, err := dataset.New(name, files, []string{"red", "green", "blue"}, samples)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tinted is a PNG of noise that is brightest in one channel. Nearly every test asks for the same.
func tinted(channel int, seed uint64) []byte {
	key := [2]uint64{uint64(channel), seed}
	if file, ok := tintedFiles.Load(key); ok {
		return file.([]byte)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	file := vggtest.PNG(40, 36, func(int, int) color.RGBA {
		rgb := [3]uint8{uint8(rng.UintN(128)), uint8(rng.UintN(128)), uint8(rng.UintN(128))}
		rgb[channel] += 100
		return color.RGBA{rgb[0], rgb[1], rgb[2], 255}
	})
	tintedFiles.Store(key, file)
	return file
}

var tintedFiles sync.Map
