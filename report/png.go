package report

import (
	"bufio"
	"fmt"
	"io"

	"gonum.org/v1/plot/vg/vgimg"
)

// encodePNG writes a picture as PNG. what names it in errors.
func encodePNG(w io.Writer, picture *vgimg.Canvas, what string) error {
	buffered := bufio.NewWriter(w)
	if _, err := (vgimg.PngCanvas{Canvas: picture}).WriteTo(buffered); err != nil {
		return fmt.Errorf("report: %s: %w", what, err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("report: %s: %w", what, err)
	}
	return nil
}
