package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/report"
)

// imagesFlags tell what a folder of images doesn't.
type imagesFlags struct {
	MultiLabel bool `help:"Take the class of each image as the only one of its labels, for a network of several labels an image."`
	mapFlag
}

// mapFlag is shared by the commands that match the classes of images with a network's.
type mapFlag struct {
	Map string `name:"map" placeholder:"FILE" help:"The network's class for each class of the images, where their names differ: lines of CSV or TSV, data class,network class, or a JSON object. Several may be of one; an empty one leaves the images out."`
}

// adapt applies the flags to images.
func (f imagesFlags) adapt(out io.Writer, d *dataset.Dataset) (*dataset.Dataset, error) {
	d, err := f.rename(out, d)
	if err == nil && f.MultiLabel {
		d = d.AsMultiLabel()
	}
	return d, err
}

// rename returns images with the classes that the file of --map gives.
func (f mapFlag) rename(out io.Writer, d *dataset.Dataset) (*dataset.Dataset, error) {
	if f.Map == "" || d == nil {
		return d, nil
	}
	data, err := wholefile.Read(f.Map, wholefile.MaxText)
	if err != nil {
		return nil, fmt.Errorf("--map %s: %w", f.Map, pathless(err))
	}
	names, err := dataset.ParseClassMap(data)
	if err != nil {
		return nil, fmt.Errorf("--map %s: %w", f.Map, err)
	}
	renamed, err := d.RenameClasses(names)
	if err != nil {
		return nil, fmt.Errorf("--map %s: %w", f.Map, err)
	}
	if n := d.Len() - renamed.Len(); n > 0 {
		fmt.Fprintf(out, "%s of %s images are left out, as --map gives their classes no name\n", report.Count(int64(n)), report.Count(int64(d.Len())))
	}
	fmt.Fprintf(out, "classes by --map %s: %s\n", f.Map, strings.Join(renamed.Classes[:min(len(renamed.Classes), 20)], ", "))
	return renamed, nil
}
