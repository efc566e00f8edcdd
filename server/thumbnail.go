package server

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"os"

	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

// indexPicture shows a picture of the index, reduced. It is read from below the folder of the
// index's pictures alone: neither a name nor a symbolic link leads out of it.
func (s *Server) indexPicture(w http.ResponseWriter, r *http.Request) error {
	query, err := queryOf(r, "side")
	if err != nil {
		return err
	}
	side, err := integer(query, "side", 320, 16, 2048)
	if err != nil {
		return err
	}
	o, release, err := s.useIndex(r)
	if err != nil {
		return err
	}
	defer release()
	row, err := o.row(r.PathValue("index"))
	if err != nil {
		return err
	}
	data, free, err := s.fileOf(r, s.pictureIndex.Load().source.Pictures, o, row)
	if err != nil {
		return err
	}
	defer free()
	im, done, err := s.decode(r.Context(), preprocess.Upright, data)
	if err != nil {
		return err
	}
	defer done()
	small, err := thumbnail(im, side)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "private, max-age=3600")
	writeBytes(w, "image/jpeg", small)
	return nil
}

// fileOf reads the file of a row.
func (s *Server) fileOf(r *http.Request, folder string, o *opened, row int) ([]byte, func(), error) {
	indexed, err := o.d.Row(row)
	if err != nil {
		return nil, nil, err
	}
	name, inside := nameIn(folder, indexed.File)
	if !inside {
		return nil, nil, &failure{code: http.StatusForbidden, reason: "index", err: errors.New("the picture isn't below the folder of the index's pictures: name that folder by --index-pictures")}
	}
	gone := &failure{code: http.StatusNotFound, err: fmt.Errorf("the file of picture %d can't be read", row)}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, nil, gone
	}
	defer root.Close()
	f, size, err := wholefile.OpenFS(root.FS(), name, s.options.Limits.Body)
	if tooLarge, ok := errors.AsType[*wholefile.SizeError](err); ok {
		return nil, nil, refuse(http.StatusRequestEntityTooLarge, "body", "the file of picture %d has %s, the most is %s", row, report.Bytes(tooLarge.Size), report.Bytes(tooLarge.Most))
	}
	if err != nil {
		return nil, nil, gone
	}
	defer f.Close()
	data, release, err := s.keep(r, io.LimitReader(f, size))
	if err != nil {
		return nil, nil, err
	}
	return data, release, nil
}

// thumbnail returns a JPEG of a picture whose longer side is at most side.
func thumbnail(im *preprocess.Image, side int) ([]byte, error) {
	w, h := im.W, im.H
	if longer := max(w, h); longer > side {
		w, h = max(1, w*side/longer), max(1, h*side/longer)
	}
	small, err := preprocess.Resize(im, w, h, preprocess.Bilinear)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = jpeg.Encode(&b, opaque(small), &jpeg.Options{Quality: 85})
	return b.Bytes(), err
}

// opaque returns a picture as the standard library has it.
func opaque(im *preprocess.Image) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, im.W, im.H))
	for i := range im.W * im.H {
		copy(out.Pix[4*i:], im.Pix[3*i:3*i+3])
		out.Pix[4*i+3] = 0xff
	}
	return out
}
