package cli

import (
	"fmt"
	"io"

	"github.com/verydeep/vgg/dataset"
)

// columnsFlag is shared by the commands that read images with tables of their classes.
type columnsFlag struct {
	Columns dataset.Columns `placeholder:"image=NAME,label=NAME" help:"Columns of the table beside the images: image, label, and split for the parts (split=fold:0 validates on fold 0). none reads no table (as values and names tell)."`
}

// options returns what the flag chooses.
func (f columnsFlag) options() dataset.OpenOptions {
	return dataset.OpenOptions{Columns: f.Columns}
}

// printNotes prints how the images were read.
func printNotes(w io.Writer, d *dataset.Dataset) {
	for _, n := range d.Notes() {
		fmt.Fprintf(w, "  %s\n", n)
	}
}
