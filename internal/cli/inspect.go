package cli

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

type inspectCommand struct {
	Weights string `arg:"" help:"File of weights, or a configuration's name for its public release, which is downloaded on first use."`
	Stats   bool   `default:"true" negatable:"" help:"Read all values for minimum, maximum, mean, standard deviation and the file's SHA-256. --no-stats reads only the header."`
	modelFlags
	jsonFlag
}

func (inspectCommand) Help() string {
	return `Shows what a file of weights holds: its format, its tensors with types, shapes and statistics, its metadata, and the network that the tensors are recognised as. The file is read piece by piece. --json prints one object.

Examples:

    vgg inspect VGG_ILSVRC_16_layers.caffemodel
    vgg inspect D --no-stats` + exitHelp
}

// inspection has the JSON keys of `vgg inspect --json`.
type inspection struct {
	File     string            `json:"file"`
	Format   weights.Format    `json:"format"`
	Bytes    int64             `json:"bytes"`
	SHA256   string            `json:"sha256,omitempty"`
	Metadata map[string]string `json:"metadata"`
	Tensors  []tensorInfo      `json:"tensors"`
	Elements int64             `json:"elements"` // of all tensors
	Network  *vgg.Description  `json:"network,omitempty"`
	Unknown  string            `json:"network_error,omitempty"` // why no network is recognised
	PeakRSS  int64             `json:"peak_rss_bytes"`
}

// tensorInfo describes a tensor. Statistics exclude values that are not finite; with
// --no-stats, and for types that are not read, there are none.
type tensorInfo struct {
	Name      string   `json:"name"`
	DType     string   `json:"dtype"`
	Shape     []int    `json:"shape"`
	Min       *float64 `json:"min,omitempty"`
	Max       *float64 `json:"max,omitempty"`
	Mean      *float64 `json:"mean,omitempty"`
	Std       *float64 `json:"std,omitempty"`
	NotFinite int      `json:"not_finite,omitempty"` // values that are NaN or infinite
}

func (c *inspectCommand) Run(e *environment) error {
	open, err := c.opener(e, nn.F32, 0)
	if err != nil {
		return err
	}
	path, err := open.path(c.Weights)
	if err != nil {
		return err
	}
	f, err := weights.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	i := inspection{File: f.Name(), Format: f.Format(), Bytes: f.Size(), Metadata: f.Metadata(), Tensors: []tensorInfo{}}
	for _, t := range f.Tensors() {
		n, _ := tensor.Size(t.Shape...)
		i.Elements += int64(n)
		if t.Shape == nil {
			t.Shape = []int{}
		}
		i.Tensors = append(i.Tensors, tensorInfo{Name: t.Name, DType: t.DType, Shape: t.Shape})
	}
	if i.Network, err = vgg.Identify(e.ctx, f, open.options); err != nil {
		i.Unknown = err.Error()
	}
	if c.Stats {
		if err := i.measure(e, f); err != nil {
			return err
		}
		if i.SHA256, err = f.SHA256(e.ctx); err != nil {
			return err
		}
	}
	i.PeakRSS = peakRSS()
	if c.JSON {
		return writeJSON(e.stdout, i)
	}
	return i.print(e)
}

// measure computes the statistics of every tensor, piece by piece.
func (i *inspection) measure(e *environment, f *weights.File) error {
	const most = 1 << 18
	bar := e.newProgress()
	defer bar.close()
	read := bar.stage("reading", unitMillions)
	buf := make([]float32, most)
	done := 0
	for k := range i.Tensors {
		t := &i.Tensors[k]
		n, _ := tensor.Size(t.Shape...)
		if !slices.Contains([]string{"F32", "F16", "BF16", "F64"}, t.DType) {
			continue
		}
		var s moments
		for at := 0; at < n; at += most {
			if e.ctx.Err() != nil {
				return e.ctx.Err()
			}
			part := buf[:min(most, n-at)]
			if err := f.ReadRange(t.Name, at, part); err != nil {
				return err
			}
			s.add(part)
			done += len(part)
			read(int64(done), i.Elements)
		}
		s.into(t)
	}
	return nil
}

// moments sums the finite values. The first one is subtracted from all against
// cancellation.
type moments struct {
	n, other        int
	first, sum, sq  float64
	least, greatest float64
}

func (s *moments) add(values []float32) {
	for _, v := range values {
		x := float64(v)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			s.other++
			continue
		}
		if s.n == 0 {
			s.first, s.least, s.greatest = x, x, x
		}
		s.n++
		s.least, s.greatest = min(s.least, x), max(s.greatest, x)
		d := x - s.first
		s.sum += d
		s.sq += d * d
	}
}

func (s *moments) into(t *tensorInfo) {
	t.NotFinite = s.other
	if s.n == 0 {
		return
	}
	n := float64(s.n)
	mean := s.first + s.sum/n
	std := math.Sqrt(max(0, s.sq/n-(s.sum/n)*(s.sum/n)))
	t.Min, t.Max, t.Mean, t.Std = &s.least, &s.greatest, &mean, &std
}

func (i *inspection) print(e *environment) error {
	out := e.stdout
	fmt.Fprintf(out, "%s: %s, %s, %d tensors, %s values\n", i.File, i.Format, report.Bytes(i.Bytes), len(i.Tensors), report.Count(i.Elements))
	if i.SHA256 != "" {
		fmt.Fprintf(out, "SHA-256 %s\n", i.SHA256)
	}
	if i.Network != nil {
		printNetwork(out, i.Network)
	} else {
		fmt.Fprintf(out, "Network: unknown: %s\n", strings.ReplaceAll(i.Unknown, "\n", "\n  "))
	}
	for _, k := range slices.Sorted(maps.Keys(i.Metadata)) {
		fmt.Fprintf(out, "Metadata %s: %s\n", k, brief(i.Metadata[k], 100))
	}
	_, err := fmt.Fprintf(out, "\n%s", i.table())
	return err
}

// printNetwork prints the network that the tensors are recognised as.
func printNetwork(out io.Writer, n *vgg.Description) {
	fmt.Fprintf(out, "Network: %s\n", describeNet(n.Options))
	if l := n.Localisation; l != nil {
		fmt.Fprintf(out, "Boxes: %s of %d classes, box rule %s\n", regressionName(l.Regression), len(n.Classes), l.Rule)
	}
	if n.Names != "" {
		fmt.Fprintf(out, "Names: as %s has them\n", n.Names)
	}
	if n.Release != nil {
		fmt.Fprintf(out, "Release: %s of %s\n", n.Release.Name, n.Release.URL)
	}
	p := n.Preprocess
	channels := "RGB"
	if n.BGR {
		channels = "BGR in the file, RGB once it is opened"
	}
	fmt.Fprintf(out, "Preprocessing: %s: (pixel × %.6g − %.6g) / %.6g, %s\n", p.Name, p.Scale, p.Mean, p.Std, channels)
	fmt.Fprintf(out, "Images: %s\n", shownAs(p))
	if n.Prefix != "" {
		fmt.Fprintf(out, "Prefix: %s (removed from the names)\n", n.Prefix)
	}
	for _, key := range []string{"preprocessing", "classes", "end"} {
		if from := n.Provenance[key]; from != "" {
			fmt.Fprintf(out, "Provenance of %s: %s\n", key, from)
		}
	}
	if n.Adapted != "" {
		fmt.Fprintf(out, "Input: %s\n", n.Adapted)
	}
	for _, line := range n.Ignored {
		fmt.Fprintf(out, "Left out: %s\n", line)
	}
	if len(n.Classes) > 0 {
		fmt.Fprintf(out, "Classes: %s\n", brief(strings.Join(n.Classes[:min(8, len(n.Classes))], ", "), 100))
	}
}

// table lists the tensors, with their statistics if they were measured.
func (i *inspection) table() *report.Table {
	columns := []report.Column{left("Tensor"), left("Type"), right("Shape")}
	measured := i.SHA256 != ""
	if measured {
		columns = append(columns, rights("Min", "Max", "Mean", "Std", "Not finite")...)
	}
	t := report.NewTable(columns...)
	for _, x := range i.Tensors {
		quoted := brief(fmt.Sprintf("%q", x.Name)[1:], 60)
		row := []string{strings.TrimSuffix(quoted, `"`), x.DType, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(x.Shape)), "×"), "[]")}
		if measured {
			for _, v := range []*float64{x.Min, x.Max, x.Mean, x.Std} {
				text := "–"
				if v != nil {
					text = fmt.Sprintf("%.4g", *v)
				}
				row = append(row, text)
			}
			row = append(row, report.Count(int64(x.NotFinite)))
		}
		t.Row(row...)
	}
	return t
}

// brief shortens a text that is too long for a line.
func brief(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// shownAs describes how image files are shown to a network of preprocessing p.
func shownAs(p preprocess.Spec) string {
	rescaled, turned := fmt.Sprintf("smallest side %d", p.Resize), "upright by EXIF"
	if p.Fit == preprocess.Squash {
		rescaled = fmt.Sprintf("squashed to %d×%d", p.Resize, p.Resize)
	}
	if p.Orient == preprocess.Stored {
		turned = "as they are stored"
	}
	return fmt.Sprintf("%s, %s, central crop %d×%d", turned, rescaled, p.Crop, p.Crop)
}
