package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/perceptual"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

type distanceCommand struct {
	A        string   `arg:"" help:"Picture, or a folder of pictures at any depth."`
	B        string   `arg:"" help:"Picture to compare with A, or a folder of pictures of the same names."`
	Net      string   `default:"D" placeholder:"WEIGHTS" help:"Network whose features are used: a file of weights, or a configuration's name for its public release (D: torchvision's VGG-16, to which LPIPS was fitted)."`
	Features []string `placeholder:"LAYER" help:"Layers of a plain distance of features by any weights, such as conv3_3,conv4_3 (those of LPIPS, with its weights)."`
	Scale    int      `placeholder:"S" help:"Smallest side to which images are rescaled, in pixels (as they are)."`
	Out      string   `placeholder:"FILE" help:"Output: a picture of where they differ, as PNG. Of several pairs, the first picture's name precedes the file's, with its folders where names are the same."`
	overwriteFlag
	modelFlags
	pixelsFlag
	threadsFlag
	jsonFlag
}

func (distanceCommand) Help() string {
	return `Measures how different two pictures look: LPIPS 0.1 (Zhang et al. 2018) by configuration D. 0 is the same picture. Two folders are compared picture by picture, by their names; the endings may differ.

  - The features of conv1_2, conv2_2, conv3_3, conv4_3 and conv5_3 after their rectification are divided by their norms over the channels. Their squared differences are weighted by the published heads, averaged over the picture, and summed over the layers.
  - The heads were fitted to torchvision's weights. By other weights of D the distance is not comparable with published ones, which a note says.
  - With --features, the weights of the channels are 1, and any network will do.
  - Pictures have to be of one size. Pixels are taken as they are, without a crop.

Examples:

    vgg distance photo.png photo.jpg
    vgg distance originals compressed --json
    vgg distance a.png b.png --out where.png
    vgg distance a.png b.png --net best.safetensors --features conv3_3,conv4_3` + exitHelp
}

// distanceMetric tells what was measured: what figures of papers most often leave open.
type distanceMetric struct {
	Name       string   `json:"name"` // lpips, or features
	Version    string   `json:"version,omitempty"`
	Layers     []string `json:"layers"`
	Input      string   `json:"input"` // how the network takes pixels
	Network    string   `json:"network"`
	Weights    string   `json:"weights"`
	Release    string   `json:"release,omitempty"`
	Comparable bool     `json:"comparable"` // with published values of LPIPS
}

// distanceResult has the JSON keys of a pair of `vgg distance --json`.
type distanceResult struct {
	A string `json:"a"`
	B string `json:"b"`
	*perceptual.Distance
	Out    string          `json:"out,omitempty"`
	Metric *distanceMetric `json:"metric,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// distanceSummary is the last line of the JSON of two folders.
type distanceSummary struct {
	Pairs  int             `json:"pairs"`
	Mean   float64         `json:"mean"`
	Metric *distanceMetric `json:"metric"`
}

func (c *distanceCommand) Run(e *environment) error {
	if c.Scale < 0 || c.Scale > 1<<14 {
		return usagef("--scale %d, want at least 1", c.Scale)
	}
	if err := asPNG(output{"--out", c.Out}); err != nil {
		return err
	}
	pairs, folders, err := c.pairs(e)
	if err != nil {
		return err
	}
	var outputs []output
	inputs := []string{c.Net, c.Labels}
	outs := c.outs(pairs, folders)
	for i, p := range pairs {
		outputs = append(outputs, output{"--out", outs[i]})
		inputs = append(inputs, p[:]...)
	}
	if err := c.check(outputs, inputs...); err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	m, err := c.convolutions(e, c.Net, threads)
	if err != nil {
		return err
	}
	metric, told, err := c.metric(m)
	if err != nil {
		return err
	}
	if told.Name == "lpips" && !told.Comparable {
		e.remark(fmt.Sprintf("LPIPS was fitted to torchvision's weights of D; by %s its distances are not comparable with published ones", c.Net))
	}
	return c.compare(e, m, metric, told, pairs, outs, folders)
}

// metric returns the distance that the flags ask for.
func (c *distanceCommand) metric(m *vgg.Model) (*perceptual.Metric, *distanceMetric, error) {
	var layers []perceptual.Layer
	for _, name := range c.Features {
		layers = append(layers, perceptual.Layer{Name: name})
	}
	metric, err := perceptual.New(m, layers)
	if err != nil {
		if c.Features == nil {
			return nil, nil, fmt.Errorf("%s: LPIPS compares the layers of configuration D at full width: %w; --features names those of another network", c.Net, err)
		}
		return nil, nil, fmt.Errorf("%s: %w", c.Net, err)
	}
	s := m.Preprocess
	told := &distanceMetric{Name: "features", Layers: metric.Layers(), Network: m.Net.Options().Config, Weights: c.Net, Release: m.Provenance["release"],
		Input: fmt.Sprintf("pixels of 0 to 255 times %.6g, minus %s, divided by %s (%s)", s.Scale, journal.List(s.Mean[:]), journal.List(s.Std[:]), s.Name)}
	if c.Features == nil {
		told.Name, told.Version, told.Comparable = "lpips", perceptual.LPIPSVersion, perceptual.Comparable(m)
	}
	if spec, err := preprocess.Preset("torchvision"); err == nil && s.SamePixels(spec) {
		told.Input = "[-1, 1], shifted and scaled by LPIPS's scaling layer, which is torchvision's normalisation of [0, 1]"
	}
	return metric, told, nil
}

// compare compares the pairs and prints the results.
func (c *distanceCommand) compare(e *environment, m *vgg.Model, metric *perceptual.Metric, told *distanceMetric, pairs [][2]string, outs []string, folders bool) error {
	load := func(_ context.Context, i int) (a, b *preprocess.Image, err error) {
		if a, err = c.load(e, m, pairs[i][0]); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", pairs[i][0], err)
		}
		if b, err = c.load(e, m, pairs[i][1]); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", pairs[i][1], err)
		}
		return a, b, nil
	}
	bar := e.newProgress()
	defer bar.close()
	progress := func(int64, int64) {}
	if folders {
		progress = bar.stage("comparing", unitImages)
	}
	table := report.NewTable(left("Picture"), right("Distance"))
	bad, sum := 0, 0.0
	err := metric.Pairs(e.ctx, len(pairs), load, perceptual.PairsOptions{Workers: runtime.GOMAXPROCS(0), Maps: c.Out != ""}, func(d perceptual.Compared) error {
		p := pairs[d.Index]
		r := distanceResult{A: p[0], B: p[1], Metric: told}
		switch {
		case d.Err != nil && e.stops(d.Err):
			return d.Err
		case d.Err != nil:
			bad++
			r.Error, r.Metric = d.Err.Error(), nil
			_, sizes := errors.AsType[*perceptual.SizesError](d.Err)
			if _, small := errors.AsType[*perceptual.TooSmallError](d.Err); sizes || small {
				r.Error = fmt.Sprintf("%s and %s: %v", p[0], p[1], d.Err)
			}
		default:
			sum += d.Total
			r.Distance, r.Out = &d.Distance, outs[d.Index]
			if err := c.draw(r, d); err != nil {
				return err
			}
		}
		progress(int64(d.Index+1), int64(len(pairs)))
		switch {
		case c.JSON:
			return writeJSON(e.stdout, r)
		case d.Err != nil:
			_, err := fmt.Fprintln(e.stderr, r.Error)
			return err
		}
		table.Row(c.shown(p[0], folders), fmt.Sprintf("%.5f", d.Total))
		return nil
	})
	bar.close()
	if err != nil {
		return err
	}
	return c.finish(e, table, told, pairs, bad, sum, folders)
}

// finish prints what all pairs have in common.
func (c *distanceCommand) finish(e *environment, table *report.Table, told *distanceMetric, pairs [][2]string, bad int, sum float64, folders bool) error {
	n := len(pairs) - bad
	mean := sum / math.Max(1, float64(n))
	name := "Distance of features"
	if told.Name == "lpips" {
		name = "LPIPS " + told.Version
	}
	switch {
	case c.JSON && folders && n > 0:
		if err := writeJSON(e.stdout, distanceSummary{n, mean, told}); err != nil {
			return err
		}
	case !c.JSON && folders && n > 0:
		fmt.Fprintf(e.stdout, "%s\n%s by %s: mean %.5f of %s pairs\n", table, name, c.Net, mean, report.Count(int64(n)))
	case !c.JSON && n > 0:
		fmt.Fprintf(e.stdout, "%.5f  %s by %s\n", mean, name, c.Net)
	}
	if !c.JSON && n > 0 && c.Out != "" && !folders {
		fmt.Fprintf(e.stdout, "Map in %s\n", c.Out)
	}
	return unreadable(bad, len(pairs))
}

// load decodes a picture, and rescales it if it is asked for.
func (c *distanceCommand) load(e *environment, m *vgg.Model, name string) (*preprocess.Image, error) {
	im, err := e.decodeImage(picture{name: name}, m.Preprocess.Orient, c.pixels())
	if err != nil || c.Scale == 0 {
		return im, err
	}
	w, h := preprocess.ShortSide(im.W, im.H, c.Scale)
	return preprocess.Resize(im, w, h, m.Preprocess.Filter)
}

// outs returns the file of each pair's map, "" for none.
func (c *distanceCommand) outs(pairs [][2]string, folders bool) []string {
	if c.Out == "" {
		return make([]string, len(pairs))
	}
	if !folders {
		return []string{c.Out}
	}
	names := make([]string, len(pairs))
	for i, p := range pairs {
		names[i] = p[0]
	}
	return outNames(c.Out, names)
}

// shown returns the name of a pair in the table: its path in the folder.
func (c *distanceCommand) shown(a string, folders bool) string {
	if name, err := filepath.Rel(c.A, a); folders && err == nil {
		return name
	}
	return filepath.Base(a)
}

// draw writes the map of a pair.
func (c *distanceCommand) draw(r distanceResult, d perceptual.Compared) error {
	if r.Out == "" {
		return nil
	}
	release, err := c.claim([]output{{"--out", r.Out}}) // no earlier: a file is open until it is released
	if err != nil {
		return err
	}
	defer release()
	most := slices.Max(d.Map)
	shares := make([]float32, len(d.Map))
	if most > 0 {
		for i, v := range d.Map {
			shares[i] = v / most
		}
	}
	whole := report.Heat{W: float64(d.A.W), H: float64(d.A.H), First: 0.5, Step: 1, Rows: d.A.H, Cols: d.A.W}
	other, where := whole, whole
	other.Pix = d.B.Pix
	where.Values, where.Caption = shares, fmt.Sprintf("largest value %.3g", most)
	h := report.Heatmap{
		Title: filepath.Base(r.A), Subtitle: fmt.Sprintf("%s %s by %s.", r.Metric.Name, r.Metric.Version, filepath.Base(c.Net)), W: d.A.W, H: d.A.H, Pix: d.A.Pix,
		Columns: []string{filepath.Base(r.B), "where they differ"},
		Rows:    []report.HeatRow{{Name: "Distance", Share: fmt.Sprintf("%.5f", d.Total), Heats: []report.Heat{other, where}}},
		Legend:  []string{"0", "largest", "distance at a place, summed", "over the layers, as a share", "of its largest value"},
	}
	return writeFile(r.Out, h.EncodePNG)
}

// pairs returns the pictures to compare. folders tells that the arguments are folders.
func (c *distanceCommand) pairs(e *environment) (pairs [][2]string, folders bool, err error) {
	a, b := isFolder(c.A), isFolder(c.B)
	switch {
	case a != b:
		return nil, false, usagef("%s and %s: a folder and a file, want two pictures or two folders", c.A, c.B)
	case !a:
		return [][2]string{{c.A, c.B}}, false, nil
	}
	first, err := relatives(e, c.A)
	if err != nil {
		return nil, true, err
	}
	second, err := relatives(e, c.B)
	if err != nil {
		return nil, true, err
	}
	pairs, alone, err := matchNames(first, second)
	if err != nil {
		return nil, true, err
	}
	if len(pairs) == 0 {
		return nil, true, fmt.Errorf("%s and %s: no picture of one has the name of a picture of the other, such as %s", c.A, c.B, first[0])
	}
	if len(alone) > 0 {
		e.remark(fmt.Sprintf("%d pictures are in one folder alone and are left out, such as %s", len(alone), alone[0]))
	}
	for i, p := range pairs {
		pairs[i] = [2]string{filepath.Join(c.A, p[0]), filepath.Join(c.B, p[1])}
	}
	return pairs, true, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// relatives lists the pictures below a folder by their paths in it.
func relatives(e *environment, folder string) ([]string, error) {
	d, err := dataset.OpenFiles(e.ctx, folder)
	if err != nil {
		return nil, err
	}
	names := make([]string, d.Len())
	for i, s := range d.Samples {
		if names[i], err = filepath.Rel(folder, filepath.FromSlash(s.Name)); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// matchNames pairs names that are equal, and then the others that differ in their endings
// alone. It is an error if an ending leaves a choice.
func matchNames(first, second []string) (pairs [][2]string, alone []string, err error) {
	stem := func(name string) string { return strings.TrimSuffix(name, filepath.Ext(name)) }
	exact, byStem := map[string]bool{}, map[string][]string{}
	for _, b := range second {
		exact[b] = true
		byStem[stem(b)] = append(byStem[stem(b)], b)
	}
	paired := map[string]string{} // of the second folder, with whom
	for _, a := range first {
		b := a
		if !exact[a] {
			switch some := byStem[stem(a)]; len(some) {
			case 0:
				alone = append(alone, a)
				continue
			case 1:
				b = some[0]
			default:
				return nil, nil, fmt.Errorf("%s: %s in the other folder, want one picture of that name", a, strings.Join(some, " and "))
			}
		}
		if other, ok := paired[b]; ok {
			return nil, nil, fmt.Errorf("%s and %s: both stand beside %s of the other folder, want one picture of that name", other, a, b)
		}
		paired[b] = a
		pairs = append(pairs, [2]string{a, b})
	}
	for _, b := range second {
		if paired[b] == "" {
			alone = append(alone, b)
		}
	}
	return pairs, alone, nil
}
