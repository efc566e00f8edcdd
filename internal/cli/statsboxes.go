package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/report"
)

// boxContents is what is known of the boxes of images, with the JSON keys of `vgg stats
// --json`.
type boxContents struct {
	Format  string   `json:"format"`
	Corners string   `json:"corners"` // how they count pixels
	Boxes   int      `json:"boxes"`
	Images  int      `json:"images"` // with boxes
	Without int      `json:"without"`
	Clipped int      `json:"clipped"`
	Crowds  int      `json:"crowds"`
	Others  int      `json:"others"`
	Bad     []string `json:"bad"` // source and reason of each annotation that can't be used
	dataset.BoxSurvey
	report dataset.BoxReport
}

// boxes reads the boxes of d. It returns nil where there are none.
func (f dataFlags) boxes(e *environment, d *dataset.Dataset) (*boxContents, error) {
	boxed, r, err := dataset.ReadBoxes(e.ctx, d, dataset.BoxOptions{From: f.Annotations})
	if errors.Is(err, dataset.ErrNoAnnotations) && f.Annotations == "" {
		return nil, nil
	}
	if err != nil && f.Annotations == "" && e.ctx.Err() == nil {
		fmt.Fprintf(e.stderr, "Boxes are not shown: %v\n", err) // what looked like them may be something else
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := &boxContents{
		Format: r.Format, Corners: r.Corners, Boxes: r.Boxes, Images: r.Images, Without: r.Without,
		Clipped: r.Clipped, Crowds: r.Crowds, Others: r.Others, Bad: []string{}, BoxSurvey: dataset.SurveyBoxes(boxed), report: r,
	}
	for _, bad := range r.Bad {
		b.Bad = append(b.Bad, bad.Source+": "+strings.ReplaceAll(bad.Err.Error(), "\n", "; "))
	}
	return b, nil
}

// String returns the tables of sizes and classes.
func (b *boxContents) String() string {
	var text strings.Builder
	printBoxes(&text, "", b.report)
	sizes := report.NewTable(left("Boxes, pixels"), right("Least"), right("5 %"), right("Median"), right("95 %"), right("Greatest"), right("Mean"))
	for _, s := range []struct {
		name string
		d    dataset.Distribution
	}{{"Width", b.Width}, {"Height", b.Height}} {
		sizes.Row(append([]string{s.name}, append(figures([]int{s.d.Min, s.d.P5, s.d.Median, s.d.P95, s.d.Max}, "%d"), fmt.Sprintf("%.1f", s.d.Mean))...)...)
	}
	classes := report.NewTable(left("Class"), right("Boxes"), right("Share"), right("Difficult"))
	shown := b.Classes
	if len(shown) > mostClasses {
		shown = shown[:mostClasses]
	}
	for _, c := range shown {
		classes.Row(c.Class, report.Count(int64(c.Boxes)), report.Percent(float64(c.Boxes)/float64(b.Boxes)), report.Count(int64(c.Difficult)))
	}
	if more := len(b.Classes) - len(shown); more > 0 {
		classes.Row(fmt.Sprintf("… %d more …", more))
	}
	fmt.Fprintf(&text, "\n%s\n%s", sizes, classes)
	return text.String()
}
