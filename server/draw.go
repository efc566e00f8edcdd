package server

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/verydeep/vgg/preprocess"
)

// drawing is the part of an answer that is a picture.
type drawing struct {
	Picture string `json:"picture"` // PNG, as a data-URL
}

func (d *drawing) set(png []byte) {
	d.Picture = "data:image/png;base64," + base64.StdEncoding.EncodeToString(png)
}

// drawnAnswer is an answer with a [drawing].
type drawnAnswer interface{ set(png []byte) }

// draw answers about the only picture of a request, by the PNG alone or by JSON that has it.
func (s *Server) draw(w http.ResponseWriter, r *http.Request, h *hosted, form string, compute func(context.Context, picture) (drawnAnswer, []byte, error)) error {
	p, free, err := s.onePicture(r)
	if err != nil {
		return err
	}
	defer free()
	start := time.Now()
	a, png, err := compute(r.Context(), p)
	h.stats.count(start, err)
	if err != nil {
		return err
	}
	if form == pngForm.name {
		writeBytes(w, pngForm.kinds[0], png)
		return nil
	}
	a.set(png)
	writeJSON(w, http.StatusOK, a)
	return nil
}

// placed takes a place in the queue for a picture, then decodes it.
func (s *Server) placed(ctx context.Context, b *batcher, orient preprocess.Orient, data []byte) (*place, *preprocess.Image, func(), error) {
	place, err := b.enter(1)
	if err != nil {
		return nil, nil, nil, err
	}
	im, release, err := s.decode(ctx, orient, data)
	if err != nil {
		place.leave()
		return nil, nil, nil, err
	}
	return place, im, func() {
		release()
		place.leave()
	}, nil
}
