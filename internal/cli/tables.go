package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/report"
)

// left is a column of words.
func left(title string) report.Column { return report.Column{Title: title} }

// right is a column of numbers.
func right(title string) report.Column { return report.Column{Title: title, Align: report.Right} }

// rights are columns of numbers.
func rights(titles ...string) []report.Column {
	columns := make([]report.Column, len(titles))
	for i, t := range titles {
		columns[i] = right(t)
	}
	return columns
}

// unreadableTable lists unreadable images with their errors.
func unreadableTable(bad []dataset.BadImage) *report.Table {
	t := report.NewTable(left("Unreadable image"), left("Why"))
	for _, b := range bad {
		t.Row(b.Name, b.Err.Error())
	}
	return t
}

// seconds formats a time in seconds.
func seconds(s float64) string { return report.Duration(time.Duration(s * float64(time.Second))) }

// figures formats each number of a row.
func figures[T any](v []T, format string) []string {
	out := make([]string, len(v))
	for i, x := range v {
		out[i] = fmt.Sprintf(format, x)
	}
	return out
}

// joinInts lists numbers: 256, 384.
func joinInts(v []int) string { return strings.Join(figures(v, "%d"), ", ") }
