package cli

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
)

// A contact sheet has sheetColumns photographs a row and at most sheetRows rows of each part.
const (
	sheetColumns = 6
	sheetRows    = 4
	// sheetSide bounds the sides of a photograph that is kept to be drawn, in pixels.
	sheetSide = 400
	// captionLength is the most characters of a photograph's name.
	captionLength = 30
)

// writeSheets writes a contact sheet of each class into an empty folder, or with --overwrite
// into any: images of all parts, spread evenly.
func (c *statsCommand) writeSheets(e *environment, room *resources.Room, train, val *dataset.Dataset) error {
	if err := os.MkdirAll(c.Sheets, 0o777); err != nil {
		return fmt.Errorf("--sheets: %w", err)
	}
	atomicfile.Clean(c.Sheets) // what a killed run left
	bar := e.newProgress()
	defer bar.close()
	drawn := bar.stage("drawing", unitClasses)
	names := map[string]bool{}
	decode := dataset.DecodeOptions{DecodeOptions: preprocess.DecodeOptions{Orient: preprocess.Upright, MaxPixels: c.pixels()}, Room: room}
	for class := range train.Classes {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		sheet := report.BoxSheet{Title: train.Classes[class], Subtitle: sheetSubtitle(train, class)}
		for _, part := range []*dataset.Dataset{train, val} {
			if part != nil {
				sheet.Rows = append(sheet.Rows, classRows(e.ctx, part, class, decode)...)
			}
		}
		if len(sheet.Rows) > 0 {
			if err := writeFile(filepath.Join(c.Sheets, sheetName(train.Classes[class], names)), sheet.EncodePNG); err != nil {
				return err
			}
		}
		drawn(int64(class+1), int64(len(train.Classes)))
	}
	return nil
}

func sheetSubtitle(d *dataset.Dataset, class int) string {
	text := fmt.Sprintf("class %d of %d", class+1, len(d.Classes))
	if d.Titles != nil && d.Titles[class] != "" {
		text = d.Titles[class] + ", " + text
	}
	return text
}

// classRows returns the rows of a class's images in a part.
func classRows(ctx context.Context, d *dataset.Dataset, class int, o dataset.DecodeOptions) []report.BoxRow {
	var of []int
	for i := range d.Samples {
		for _, label := range d.LabelsOf(i) {
			if label == class {
				of = append(of, i)
			}
		}
	}
	shown := min(len(of), sheetColumns*sheetRows)
	heading := fmt.Sprintf("%s: %s images", path.Base(filepath.ToSlash(d.Name)), report.Count(int64(len(of))))
	if shown < len(of) {
		heading += fmt.Sprintf(", %d of them shown", shown)
	}
	var rows []report.BoxRow
	for k := range shown {
		if k%sheetColumns == 0 {
			rows = append(rows, report.BoxRow{Heading: heading})
			heading = ""
		}
		row := &rows[len(rows)-1]
		row.Images = append(row.Images, sheetPhoto(ctx, d, of[(2*k+1)*len(of)/(2*shown)], o))
	}
	return rows
}

// sheetPhoto returns a sample's photograph, or a grey picture that says that it can't be
// read.
func sheetPhoto(ctx context.Context, d *dataset.Dataset, i int, o dataset.DecodeOptions) report.BoxImage {
	caption := shortCaption(path.Base(d.Samples[i].Name))
	im, err := smallPhoto(ctx, d, i, o)
	if err != nil {
		return report.BoxImage{W: 1, H: 1, Pix: []uint8{200, 200, 200}, Caption: "unreadable: " + caption}
	}
	return report.BoxImage{W: im.W, H: im.H, Pix: im.Pix, Caption: caption}
}

// shortCaption cuts the beginning off a caption that is too long.
func shortCaption(text string) string {
	if r := []rune(text); len(r) > captionLength {
		return "…" + string(r[len(r)-captionLength+1:])
	}
	return text
}

// smallPhoto decodes a sample, not larger than a sheet needs it.
func smallPhoto(ctx context.Context, d *dataset.Dataset, i int, o dataset.DecodeOptions) (*preprocess.Image, error) {
	im, err := d.Decode(ctx, i, o)
	if err != nil {
		return nil, err
	}
	defer im.Release()
	long := max(im.W, im.H)
	if long <= sheetSide {
		return im.Image, nil
	}
	return preprocess.Resize(im.Image, max(1, im.W*sheetSide/long), max(1, im.H*sheetSide/long), preprocess.Bilinear)
}

// sheetName returns the file of a class's sheet, another one each time whatever the file
// system makes of capitals.
func sheetName(class string, taken map[string]bool) string {
	stem := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, class)
	stem = strings.Trim(stem, ". ")
	if stem == "" {
		stem = "class"
	}
	name := stem
	for n := 2; taken[strings.ToLower(name)]; n++ {
		name = fmt.Sprintf("%s-%d", stem, n)
	}
	taken[strings.ToLower(name)] = true
	return name + ".png"
}

// checkSheets returns an error, before long work, if the sheets can't be written.
func (c *statsCommand) checkSheets() error {
	if c.Sheets == "" {
		return nil
	}
	if err := outside("--sheets", c.Sheets, c.Data); err != nil {
		return err
	}
	if entries, err := os.ReadDir(c.Sheets); err == nil && len(entries) > 0 && !c.Overwrite {
		return fmt.Errorf("--sheets %s: the folder is not empty, want a new or empty one, or --overwrite to replace the sheets in it", c.Sheets)
	}
	return nil
}
