package server

import (
	"bytes"
	"context"
	"image/png"
	"net/http"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// preprocessAnswer is what a network sees of a picture, and the classes that it then names.
type preprocessAnswer struct {
	File       string          `json:"file"`
	Width      int             `json:"width"` // of the picture, the way up that it is read
	Height     int             `json:"height"`
	Side       int             `json:"side"` // of the crop, pixels
	Crop       crop            `json:"crop"`
	Spec       preprocess.Spec `json:"preprocess"`
	Order      string          `json:"order"` // of the channels: rgb, or bgr
	vgg.Answer                 // of the crop, if top is given
	drawing                    // the crop
}

// preprocess shows the crop that a network sees of a picture, by its own preprocessing or by
// another, and the classes that it names for that crop.
func (s *Server) preprocess(w http.ResponseWriter, r *http.Request) error {
	query, h, g, release, err := s.askedAny(r, "model", "scale", "resize", "filter", "orient", "order", "top", "format")
	if err != nil {
		return err
	}
	defer release()
	form, err := formOf(r, query, pngForm)
	if err != nil {
		return err
	}
	a := preprocessAnswer{Side: g.model.Net.Options().Input, Spec: g.model.Preprocess}
	scale, err := integer(query, "scale", a.Spec.Resize, 1, 1_000_000)
	if err == nil {
		err = checkScale("scale", scale, a.Side)
	}
	if err != nil {
		return err
	}
	a.Spec.Resize = scale
	if err := parsed(query, "resize", &a.Spec.Fit); err != nil {
		return err
	}
	if err := parsed(query, "filter", &a.Spec.Filter); err != nil {
		return err
	}
	if err := parsed(query, "orient", &a.Spec.Orient); err != nil {
		return err
	}
	if a.Order, err = chosen(query, "order", "rgb", "bgr"); err != nil {
		return err
	}
	top, err := integer(query, "top", 0, 0, 1_000_000) // all classes if there are fewer
	if err == nil && top > 0 {
		err = classifier(g.model)
	}
	if err != nil {
		return err
	}
	return s.draw(w, r, h, form, func(ctx context.Context, p picture) (drawnAnswer, []byte, error) {
		a.File = p.name
		picture, err := s.preprocessed(ctx, h, g, p.data, &a, top)
		return &a, picture, err
	})
}

// preprocessed completes the answer about a picture and returns the crop as PNG.
func (s *Server) preprocessed(ctx context.Context, h *hosted, g *generation, data []byte, a *preprocessAnswer, top int) ([]byte, error) {
	place, im, release, err := s.placed(ctx, g.batcher, a.Spec.Orient, data)
	if err != nil {
		return nil, err
	}
	defer release()
	a.Width, a.Height = im.W, im.H
	window := a.Spec.CentreWindow(im.W, im.H, a.Spec.Resize, a.Side)
	a.Crop = cropOf(im.W, im.H, window)
	seen, err := window.Cut(im, a.Spec.Filter)
	if err != nil {
		return nil, badRequest("the picture: %w", err)
	}
	if a.Order == "bgr" { // a picture of its own: Cut may return a part of another
		seen = swapped(seen)
	}
	if top > 0 {
		x := tensor.New(1, 3, a.Side, a.Side)
		a.Spec.Tensor(x.Data, seen, [3]float32{})
		j, err := g.batcher.forward(ctx, place, x)
		if err != nil {
			return nil, err
		}
		h.stats.computed(j)
		if !tensor.Finite(j.y.Data) {
			return nil, errNotFinite
		}
		a.Answer = g.model.Answer(j.y.Data, top, nil)
	}
	var b bytes.Buffer
	err = png.Encode(&b, opaque(seen))
	return b.Bytes(), err
}

// swapped returns a picture with red in the place of blue, as a network sees it that is given
// BGR instead of RGB.
func swapped(im *preprocess.Image) *preprocess.Image {
	out := preprocess.NewImage(im.W, im.H)
	for i := 0; i < len(im.Pix); i += 3 {
		out.Pix[i], out.Pix[i+1], out.Pix[i+2] = im.Pix[i+2], im.Pix[i+1], im.Pix[i]
	}
	return out
}
