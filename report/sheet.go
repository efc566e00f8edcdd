package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/jpeg"
	"io"

	"github.com/verydeep/vgg/preprocess"
)

//go:embed sheet.html.tmpl
var sheetPage string

var sheetTemplate = template.Must(template.New("sheet").Parse(sheetPage))

// Sheet is a contact sheet: strips of pictures with a heading each.
type Sheet struct {
	Title, About string
	Strips       []Strip
}

// Strip is a row of pictures.
type Strip struct {
	Title string
	Cells []SheetCell
}

// SheetCell is a picture of a strip.
type SheetCell struct {
	Thumbnail template.URL // see [Thumbnail]; empty: the picture can't be shown
	File      string       // name and target of the link
	Caption   string
	Query     bool // the picture of a query rather than a result
}

// WriteHTML writes the sheet as one self-contained HTML page.
func (s Sheet) WriteHTML(w io.Writer) error {
	if err := sheetTemplate.Execute(w, s); err != nil {
		return fmt.Errorf("report: contact sheet: %w", err)
	}
	return nil
}

// thumbnailSide is the longer side of a thumbnail, in pixels: twice the side on the page,
// for screens of double density.
const thumbnailSide = 320

// Thumbnail decodes an image file and returns a small JPEG of it as a data URL.
func Thumbnail(data []byte) (template.URL, error) {
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{Orient: preprocess.Upright})
	if err != nil {
		return "", err
	}
	w, h := im.W, im.H
	if longer := max(w, h); longer > thumbnailSide {
		w, h = max(1, w*thumbnailSide/longer), max(1, h*thumbnailSide/longer)
	}
	small, err := preprocess.Resize(im, w, h, preprocess.Bilinear)
	if err != nil {
		return "", err
	}
	picture := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		copy(picture.Pix[4*i:], small.Pix[3*i:3*i+3])
		picture.Pix[4*i+3] = 0xff
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: 80}); err != nil {
		return "", err
	}
	return template.URL("data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(b.Bytes())), nil
}
