package cli

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/teach"
	"github.com/verydeep/vgg/transfer"
)

// print writes what was learnt, how well, and which pictures are odd.
func (r *teachResult) print(e *environment, images *transfer.Images) error {
	out := e.stdout
	if len(r.Unreadable) > 0 {
		fmt.Fprintf(out, "%s\n", unreadableTable(r.Unreadable))
	}
	refined := r.Refined != nil && r.Refined.Better
	if refined {
		fmt.Fprintln(out, "Of the SVMs, before fine-tuning:")
	}
	fmt.Fprintf(out, "%s\n", r.classTable())
	if t := r.mistakeTable(); t != nil {
		fmt.Fprintf(out, "%s\n", t)
	}
	if t := r.duplicateTable(); t != nil {
		fmt.Fprintf(out, "%s\n", t)
	}
	if refined {
		n := r.Refined
		fmt.Fprintf(out, "Error %s of the refined model (%s): on %d pictures that were not learnt from, but chose the epoch; 95 %% confidence interval %s to %s.\n",
			report.Percent(n.After), n.Stage, n.Held, report.Percent(n.Low), report.Percent(n.High))
		fmt.Fprintf(out, "Before fine-tuning, the SVMs: %s\n", r.summary(images.MultiLabel))
		fmt.Fprintln(out, "The model is the refined one, as it errs less.")
	} else {
		fmt.Fprintf(out, "%s\n", r.summary(images.MultiLabel))
		if n := r.Refined; n != nil {
			again := ""
			if n.Relearnt {
				again = fmt.Sprintf("; they have learnt again, from these %d too", n.Held)
			}
			fmt.Fprintf(out, "Refined: error %s after fine-tuning (%s; 95 %% confidence interval %s to %s), %s before, on %d pictures that were not learnt from and that chose the epoch; the model is that of the SVMs, as fine-tuning errs no less%s.\n",
				report.Percent(n.After), n.Stage, report.Percent(n.Low), report.Percent(n.High), report.Percent(n.Before), n.Held, again)
		}
	}
	if r.Sheet != "" {
		fmt.Fprintf(out, "Contact sheet: %s\n", r.Sheet)
	}
	any := ""
	if len(images.Samples) > 0 {
		any = path.Join(filepath.ToSlash(images.Name), images.Samples[0].Name)
	}
	_, err := fmt.Fprintf(out, "Model: %s, in %s\n\nNext: %s\n", r.Out, seconds(r.Seconds), commandLine("classify", r.Out, any))
	return err
}

// summary says how sure the model is.
func (r *teachResult) summary(multi bool) string {
	how := "on pictures of the set's own part, which were not learnt from"
	if r.CrossValidated {
		how = fmt.Sprintf("each by SVMs that had not seen it (%d folds)", r.Folds)
	}
	what := ""
	if multi {
		what = " with a wrong label or more"
	}
	text := fmt.Sprintf("Error %s: %s of %s pictures%s, %s; 95 %% confidence interval %s to %s.", report.Percent(r.Error), report.Count(int64(r.Wrong)),
		report.Count(int64(r.Tested)), what, how, report.Percent(r.Low), report.Percent(r.High))
	if multi {
		text += fmt.Sprintf(" Mean average precision %s.", report.Percent(r.Score.MeanAP["area"]))
	} else {
		text += fmt.Sprintf(" Its answers have a probability of %s on average.", report.Percent(r.Confidence))
	}
	return fmt.Sprintf("%s\nLearnt from %s pictures, C = %g.", text, report.Count(int64(r.Learnt)), r.C)
}

// classTable shows each class; of many, those that are wrong most often.
func (r *teachResult) classTable() *report.Table {
	t := report.NewTable(left("Class"), right("Learnt from"), right("Tested"), right("Wrong"), left("Taken for"))
	classes := r.Classes
	if len(classes) > mostClasses {
		classes = slices.Clone(classes)
		slices.SortStableFunc(classes, func(a, b teach.ClassReport) int {
			return cmp.Compare(float64(b.Wrong)/float64(max(1, b.Tested)), float64(a.Wrong)/float64(max(1, a.Tested)))
		})
		classes = classes[:mostClasses]
	}
	for _, c := range classes {
		t.Row(c.Class, report.Count(int64(c.Learnt)), report.Count(int64(c.Tested)), report.Count(int64(c.Wrong)), c.Taken)
	}
	if n := len(r.Classes) - len(classes); n > 0 {
		t.Row(fmt.Sprintf("… %d more, less often wrong …", n))
	}
	return t
}

// mostMistakes is the number of mistakes that the text lists and the sheet shows.
const mostMistakes = 48

func (r *teachResult) mistakeTable() *report.Table {
	if len(r.Mistakes) == 0 {
		return nil
	}
	t := report.NewTable(right("No."), left("Picture"), left("Class"), left("Taken for"), right("Probability"), left("Remark"))
	for i, m := range r.Mistakes[:min(len(r.Mistakes), mostMistakes)] {
		var remarks []string
		if m.Mislabelled {
			remarks = append(remarks, "mislabelled?")
		}
		if !m.Tested {
			remarks = append(remarks, "learnt from")
		}
		t.Row(fmt.Sprint(i+1), m.File, m.Class, m.Answer, report.Percent(m.Probability), strings.Join(remarks, ", "))
	}
	if n := len(r.Mistakes) - mostMistakes; n > 0 {
		t.Row("", fmt.Sprintf("and %s more, which --json lists", report.Count(int64(n))))
	}
	return t
}

func (r *teachResult) duplicateTable() *report.Table {
	if len(r.Duplicates) == 0 {
		return nil
	}
	t := report.NewTable(right("Group"), right("Similarity"), left("Near-duplicates"), left("Remark"))
	for i, d := range r.Duplicates[:min(len(r.Duplicates), mostGroups)] {
		var remarks []string
		if len(d.Classes) > 1 {
			remarks = append(remarks, "in several classes")
		}
		if d.Apart {
			remarks = append(remarks, "learnt from and tested on")
		}
		for j, f := range d.Files[:min(len(d.Files), mostOfGroup)] {
			if j == 0 {
				t.Row(fmt.Sprint(i+1), fmt.Sprintf("%.4f", d.Similarity), f, strings.Join(remarks, ", "))
			} else {
				t.Row("", "", f, "")
			}
		}
		if n := len(d.Files) - mostOfGroup; n > 0 {
			t.Row("", "", fmt.Sprintf("and %s more", report.Count(int64(n))), "")
		}
	}
	if n := len(r.Duplicates) - mostGroups; n > 0 {
		t.Row("", "", fmt.Sprintf("and %s groups more, which --json lists", report.Count(int64(n))), "")
	}
	return t
}

// writeSheet draws the odd pictures. wrote is false if there are none.
func (c *teachCommand) writeSheet(e *environment, file string, d *dataset.Dataset, r *teach.Report, refined bool) (wrote bool, err error) {
	o := dataset.DecodeOptions{DecodeOptions: preprocess.DecodeOptions{Orient: preprocess.Upright, MaxPixels: c.pixels()}, Room: resources.Resources{Memory: int64(c.Memory)}.DecodeRoom()}
	by := "by SVMs that have not seen them; the surest first"
	if refined {
		by = "by the SVMs before fine-tuning, which have not seen them; the surest first"
	}
	sheet := report.BoxSheet{Title: fmt.Sprintf("%s: %d of %d pictures are taken for another class", path.Base(filepath.ToSlash(r.Data)), r.Wrong, r.Tested), Subtitle: by}
	photo := func(image int, caption string) report.BoxImage {
		b := sheetPhoto(e.ctx, d, image, o)
		if !strings.HasPrefix(b.Caption, "unreadable") {
			b.Caption = shortCaption(caption)
		}
		return b
	}
	for _, odd := range []bool{true, false} {
		var list []report.BoxImage
		for i, m := range r.Mistakes[:min(len(r.Mistakes), mostMistakes)] {
			if m.Mislabelled != odd {
				continue
			}
			list = append(list, photo(m.Image, fmt.Sprintf("%d: %s %s", i+1, m.Answer, report.Percent(m.Probability))))
		}
		heading := "Taken for another class"
		if odd {
			heading = "Looks mislabelled"
		}
		sheet.Rows = append(sheet.Rows, sheetRowsOf(heading, list)...)
	}
	for i, g := range r.Duplicates[:min(len(r.Duplicates), sheetRows)] {
		var list []report.BoxImage
		for j, image := range g.Images[:min(len(g.Images), sheetColumns)] {
			list = append(list, photo(image, g.Files[j]))
		}
		sheet.Rows = append(sheet.Rows, sheetRowsOf(fmt.Sprintf("Near-duplicates, group %d", i+1), list)...)
	}
	if e.ctx.Err() != nil {
		return false, e.ctx.Err()
	}
	if len(sheet.Rows) == 0 {
		return false, nil
	}
	return true, writeFile(file, sheet.EncodePNG)
}

// sheetRowsOf divides pictures into rows, the first under a heading.
func sheetRowsOf(heading string, list []report.BoxImage) []report.BoxRow {
	var rows []report.BoxRow
	for of := range slices.Chunk(list, sheetColumns) {
		rows = append(rows, report.BoxRow{Heading: heading, Images: of})
		heading = ""
	}
	return rows
}
