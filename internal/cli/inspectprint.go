package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

const (
	inspectWidth = 80 // of a terminal
	inspectFacts = 12 // column where facts begin
)

// print prints the inspection for a reader.
func (i *inspection) print(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %s, %s, %d tensors, %s values\n", i.File, i.Format, report.Bytes(i.Bytes), len(i.Tensors), report.Count(i.Elements))
	if i.SHA256 != "" {
		fmt.Fprintf(&out, "SHA-256 %s\n", i.SHA256)
	}
	out.WriteByte('\n')
	if i.Network != nil {
		printNetwork(&out, i.Network)
		if i.Unknown != "" {
			fact(&out, "Missing", i.Unknown)
		}
		drawLayers(&out, i.Layers)
		for _, of := range []struct {
			title string
			lines []string
		}{{"Inferred", i.Network.Inferred}, {"Left out", i.Network.Ignored}} {
			if len(of.lines) > 0 {
				out.WriteByte('\n')
			}
			for n, line := range of.lines {
				title := ""
				if n == 0 {
					title = of.title
				}
				fact(&out, title, line)
			}
		}
	} else {
		known := ""
		if i.Convolutions != "" {
			known = "the convolutions of configuration " + i.Convolutions + "\nthe rest is "
		}
		fact(&out, "Network", known+"unknown: "+i.Unknown)
	}
	if len(i.Metadata) > 0 {
		out.WriteString("\nMetadata\n")
	}
	for _, k := range slices.Sorted(maps.Keys(i.Metadata)) {
		fmt.Fprintf(&out, "  %s\n", brief(k+": "+i.Metadata[k], inspectWidth-3))
	}
	if i.Network == nil || i.SHA256 != "" || i.unread {
		fmt.Fprintf(&out, "\n%s", i.table())
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// fact prints a title and a text, which continues below itself.
func fact(out *strings.Builder, title, text string) {
	for _, line := range strings.Split(text, "\n") {
		for _, part := range wrap(line, inspectWidth-inspectFacts) {
			fmt.Fprintf(out, "%s\n", strings.TrimRight(fmt.Sprintf("%-*s%s", inspectFacts, title, part), " "))
			title = ""
		}
	}
}

// wrap breaks a text into lines of at most so many characters, if its words allow.
func wrap(text string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

// printNetwork prints the network that the tensors are recognised as.
func printNetwork(out *strings.Builder, n *vgg.Description) {
	fact(out, "Network", describeNet(n.Options))
	if l := n.Localisation; l != nil {
		fact(out, "Boxes", fmt.Sprintf("%s of %d classes, box rule %s", regressionName(l.Regression), len(n.Classes), l.Rule))
	}
	if head := n.Options.Head(); head != "" {
		fact(out, "Head", head+", posteriors by "+posteriorName(n.Options.Posterior()))
	}
	if n.Names != "" {
		fact(out, "Names", "as "+n.Names+" has them")
	}
	if n.Release != nil {
		fact(out, "Release", n.Release.FullName()+" of "+n.Release.URL)
	}
	if p := n.Preprocess; p.Scale != 0 {
		fact(out, "Pixels", describePixels(n))
		fact(out, "Images", shownAs(p))
	}
	if len(n.Classes) > 0 {
		from := ""
		if of := n.Provenance["classes"]; of != "" {
			from = " (" + of + ")"
		}
		between := ", "
		if slices.ContainsFunc(n.Classes, func(c string) bool { return strings.Contains(c, ",") }) {
			between = "; "
		}
		fact(out, "Classes", fmt.Sprintf("%d: %s%s", len(n.Classes), brief(strings.Join(n.Classes[:min(8, len(n.Classes))], between), 100), from))
	}
	if end := n.Provenance["end"]; end != "" {
		fact(out, "End", end)
	}
	if n.Assumed != "" {
		fact(out, "Assumed", n.Assumed)
	}
	if n.Adapted != "" {
		fact(out, "Input", n.Adapted)
	}
	if n.Prefix != "" {
		fact(out, "Prefix", n.Prefix+" (of all names below)")
	}
}

// posteriorName names the way from scores to posteriors.
func posteriorName(p network.Posterior) string {
	if p == network.NoPosterior {
		return "none: the outputs are scores"
	}
	return string(p)
}

// describePixels describes what is done to the values of pixels, and who says so.
func describePixels(n *vgg.Description) string {
	p := n.Preprocess
	x := "x"
	if p.Scale != 1 {
		x = fmt.Sprintf("x × %.6g", p.Scale)
	}
	text := p.Name + ": " + x
	switch mean, std := p.Mean != [3]float32{}, p.Std != [3]float32{1, 1, 1}; {
	case mean && std:
		text += fmt.Sprintf(", minus %.6g, over %.6g", p.Mean, p.Std)
	case mean:
		text += fmt.Sprintf(", minus %.6g", p.Mean)
	case std:
		text += fmt.Sprintf(", over %.6g", p.Std)
	}
	if n.BGR {
		text += ", BGR in the file, RGB once it is opened"
	} else {
		text += ", RGB"
	}
	if from := n.Provenance["preprocessing"]; from != "" {
		text += " (" + from + ")"
	}
	return text
}

// drawLayers draws the network: each layer, its output, and its tensors in the file.
func drawLayers(out *strings.Builder, layers []vgg.LayerDescription) {
	if len(layers) == 0 {
		return
	}
	name, kind, output, types := len("Layer"), len("Kind"), len("Output"), map[string]bool{}
	for _, l := range layers {
		name, kind = max(name, utf8.RuneCountInString(l.Name)), max(kind, utf8.RuneCountInString(l.Kind))
		output = max(output, utf8.RuneCountInString(journal.Shape(l.Output[:])))
		for _, t := range l.Tensors {
			if t.Tensor != "" {
				types[t.DType] = true
			}
		}
	}
	shapeOf := func(t vgg.TensorDescription) string {
		switch {
		case t.Tensor == "":
			return "–"
		case len(types) > 1:
			return journal.Shape(t.Shape) + " " + t.DType
		}
		return journal.Shape(t.Shape)
	}
	shape, title := 0, "Tensor in the file"
	for _, l := range layers {
		for _, t := range l.Tensors {
			shape = max(shape, utf8.RuneCountInString(shapeOf(t)))
		}
	}
	for one := range types {
		if len(types) == 1 {
			title += ", " + one
		}
	}
	row := func(cells ...string) {
		line := fmt.Sprintf("%s  %s  %s  %s  %s", pad(cells[0], name), pad(cells[1], kind), pad(cells[2], output), pad(cells[3], shape), cells[4])
		fmt.Fprintf(out, "%s\n", strings.TrimRight(line, " "))
	}
	out.WriteByte('\n')
	row("Layer", "Kind", "Output", "Shape", title)
	row(strings.Repeat("─", name), strings.Repeat("─", kind), strings.Repeat("─", output), strings.Repeat("─", shape), strings.Repeat("─", utf8.RuneCountInString(title)))
	for _, l := range layers {
		cells := []string{l.Name, l.Kind, journal.Shape(l.Output[:])}
		for _, t := range l.Tensors {
			of := t.Tensor
			if of == "" {
				of = "none: " + t.Parameter + " is as it was built"
			}
			row(append(cells, shapeOf(t), printable(of))...)
			cells = []string{"", "", ""}
		}
		if len(l.Tensors) == 0 {
			row(append(cells, "", "")...)
		}
	}
}

// pad fills a cell up to a width.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// printable quotes what isn't fit for a terminal in a tensor's name.
func printable(name string) string { return strings.TrimSuffix(fmt.Sprintf("%q", name)[1:], `"`) }

// table lists the tensors, with their statistics if they were measured.
func (i *inspection) table() *report.Table {
	columns := []report.Column{left("Tensor"), left("Type"), right("Shape")}
	measured, other := i.SHA256 != "", slices.ContainsFunc(i.Tensors, func(t tensorInfo) bool { return t.NotFinite > 0 })
	if measured {
		columns = append(columns, rights("Min", "Max", "Mean", "Std")...)
	}
	if other {
		columns = append(columns, right("Not finite"))
	}
	t := report.NewTable(columns...)
	for _, x := range i.Tensors {
		row := []string{brief(printable(x.Name), 60), x.DType, journal.Shape(x.Shape)}
		if measured {
			for _, v := range []*float64{x.Min, x.Max, x.Mean, x.Std} {
				text := "–"
				if v != nil {
					text = fmt.Sprintf("%.3g", *v)
				}
				row = append(row, text)
			}
		}
		if other {
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
	text := fmt.Sprintf("%s, %s, central crop %d×%d", turned, rescaled, p.Crop, p.Crop)
	if p.Centre == preprocess.Floor {
		text += " from half the margin rounded down"
	}
	return text
}
