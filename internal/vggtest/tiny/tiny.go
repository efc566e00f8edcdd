// Package tiny has the small networks and data sets that tests of several packages use.
package tiny

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

// File is an image of a data set: its class and its bytes.
type File struct {
	Class string
	Data  []byte
}

// Image returns a File.
func Image(class string, data []byte) File { return File{class, data} }

// Set makes a data set of files, which are named CLASS/PLACE.png. A class that isn't among
// the classes has label -1.
func Set(t testing.TB, classes []string, files ...File) *dataset.Dataset {
	t.Helper()
	fsys := fstest.MapFS{}
	var samples []dataset.Sample
	for i, f := range files {
		name := fmt.Sprintf("%s/%d.png", f.Class, i)
		fsys[name] = &fstest.MapFile{Data: f.Data}
		samples = append(samples, dataset.Sample{Name: name, Label: slices.Index(classes, f.Class)})
	}
	d, err := dataset.New("set", fsys, classes, samples)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Colours returns a network that tells red, green and blue pictures apart: every layer hands
// the three channels on, and the last one multiplies them by gain, so that the scores of a
// 32×32 crop are the largest red, green and blue in it, from 0 to gain.
func Colours(gain float32) *vgg.Model {
	o := network.DefaultOptions("A")
	o.Classes, o.Width, o.FC, o.Input = 3, 3./64, 8, 32
	net := build(o)
	for _, p := range net.Params() {
		v := make([]float32, p.Len())
		for c := range 3 {
			switch {
			case p.Name == "fc8.weight":
				v[c*p.Shape[1]+c] = gain
			case len(p.Shape) == 4: // (K,C,3,3)
				v[(c*p.Shape[1]+c)*9+4] = 1
			case len(p.Shape) == 2: // (K,C)
				v[c*p.Shape[1]+c] = 1
			}
		}
		must(p.Set(v))
	}
	return &vgg.Model{Net: net, Classes: []string{"red", "green", "blue"}, Preprocess: preprocess.Spec{
		Name: "grey levels", Scale: 1. / 255, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: 32, Resize: 32,
	}}
}

// Random returns configuration B with an eighth of its channels, fc units in fc6 and fc7,
// random weights and the classes a to e. It takes 32×32 crops at scale 40.
func Random(fc int, seed uint64) *vgg.Model {
	o := network.DefaultOptions("B")
	o.Classes, o.Width, o.FC, o.Input = 5, 1./8, fc, 32
	net := build(o)
	must(net.Init(network.He, seed))
	spec, err := preprocess.Preset("torchvision")
	must(err)
	spec.Crop, spec.Resize = 32, 40
	return &vgg.Model{Net: net, Classes: []string{"a", "b", "c", "d", "e"}, Preprocess: spec}
}

// Boxes returns a localisation network with a box for each class of [Random], about the middle
// of their windows.
func Boxes(seed uint64) *vgg.Model {
	m := Random(16, seed)
	o := m.Net.Options()
	o.Classes = vgg.PCR.Outputs(len(m.Classes))
	m.Net = build(o)
	must(m.Net.Init(network.He, seed))
	for _, p := range m.Net.Params() {
		if p.Name != "fc8.weight" {
			continue
		}
		v := make([]float32, p.Len())
		must(p.Get(v))
		for i := range v {
			v[i] /= 20
		}
		must(p.Set(v))
	}
	m.Localisation = &vgg.Localisation{Regression: vgg.PCR, MeanBox: [4]float64{0.2, 0.2, 0.7, 0.7}}
	for i := range m.Classes {
		at := 0.1 * float64(i)
		m.Localisation.ClassBoxes = append(m.Localisation.ClassBoxes, [4]float64{at, at, at + 0.5, at + 0.4})
	}
	return m
}

// WithHead gives a model a small network of random weights that ends with a head.
func WithHead(m *vgg.Model, outputs int, head string) *vgg.Model {
	m.Net = build(network.Options{Config: "8 M 16 M " + head, Classes: outputs, Width: 1, FC: 16, Input: 32})
	must(m.Net.Init(network.He, 7))
	return m
}

// Hashed returns configuration D with an eighth of its channels, 64 units in fc6 and fc7 and
// ten classes. It has the weights that tools/oracle/eval.py computes: weight i of a tensor
// is a hash of its name and i.
func Hashed() *vgg.Model {
	o := network.DefaultOptions("D")
	o.Classes, o.Width, o.FC = 10, 1./8, 64
	net := build(o)
	for _, p := range net.Params() {
		v := make([]float32, p.Len())
		bound := 0.1 // of a bias
		if len(p.Shape) > 1 {
			bound = math.Sqrt(6 / float64(p.Len()/p.Shape[0]))
		}
		switch p.Name {
		case "conv1_1.weight":
			bound /= 64
		case "fc8.weight":
			bound *= 1.5
		}
		h := fnv.New64a()
		h.Write([]byte(p.Name))
		seed := h.Sum64()
		for i := range v {
			z := seed + uint64(i+1)*0x9e3779b97f4a7c15
			z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
			z = (z ^ z>>27) * 0x94d049bb133111eb
			z ^= z >> 31
			v[i] = float32((float64(z>>40)/(1<<23) - 1) * bound)
		}
		must(p.Set(v))
	}
	spec, err := preprocess.Preset("vgg")
	must(err)
	classes := make([]string, o.Classes)
	for i := range classes {
		classes[i] = fmt.Sprint(i)
	}
	return &vgg.Model{Net: net, Classes: classes, Preprocess: spec}
}

func build(o network.Options) *network.Network {
	net, err := network.New(o)
	must(err)
	return net
}

// must panics: the networks are constants, and only a bug makes an error.
func must(err error) {
	if err != nil {
		panic("tiny: " + err.Error())
	}
}
