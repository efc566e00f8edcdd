package server

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/verydeep/vgg/explain"
)

// explainAnswer is the answer about where a picture's classes are. Its keys are those of
// `vgg explain --json`, and the maps.
type explainAnswer struct {
	File   string `json:"file"`
	Width  int    `json:"width"` // of the picture, upright
	Height int    `json:"height"`
	*explain.Result
	// Maps are those of the classes of Top at each of Scales, if asked for.
	Maps [][][]float32 `json:"maps,omitempty"`
}

// mostScales is the most scales of a request.
const mostScales = 5

// explain shows where a picture's classes are: as JSON, or as a PNG of heat maps.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	query, h, g, release, err := s.asked(r, "model", "top", "scales", "maps", "format")
	if err != nil {
		return err
	}
	defer release()
	top, err := integer(query, "top", 3, 1, 20) // all classes if there are fewer
	if err != nil {
		return err
	}
	scales, err := scalesOf(query, g.model.Net.Options().Input)
	if err != nil {
		return err
	}
	format := query.Get("format")
	if format != "" && format != "json" && format != "png" {
		return badRequest("parameter format of %q, want json or png", abbreviated(format))
	}
	list, free, err := s.pictures(r)
	if err != nil {
		return err
	}
	defer free()
	if len(list) > 1 {
		return badRequest("%d pictures, want one", len(list))
	}
	start := time.Now()
	answer, picture, err := s.explained(r.Context(), g, list[0], scales, top, format == "png")
	h.count(start, err)
	if err != nil {
		return err
	}
	if format == "png" {
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Content-Length", strconv.Itoa(len(picture)))
		_, _ = w.Write(picture) // a client that has gone hears nothing
		return nil
	}
	if query.Has("maps") {
		for _, class := range answer.Top {
			var maps [][]float32
			for i := range answer.Scales {
				maps = append(maps, answer.Map(class.Index, i))
			}
			answer.Maps = append(answer.Maps, maps)
		}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// explained computes the maps, one request at a time, and draws them if asked to.
func (s *Server) explained(ctx context.Context, g *generation, p picture, scales []int, top int, draw bool) (*explainAnswer, []byte, error) {
	im, release, err := s.decode(ctx, g.model.Preprocess.Orient, p.data)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	side := g.model.Net.Options().Input
	if scales == nil {
		scales = explain.DefaultScales(g.model)
	}
	for _, q := range scales {
		w, h := g.model.Preprocess.Fit.Size(im.W, im.H, max(q, side))
		if _, err := g.batcher.fits(h, w); err != nil {
			return nil, nil, err
		}
	}
	select {
	case s.models.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	result, err := explain.Run(ctx, g.model, im, explain.Options{Scales: scales, Top: top})
	<-s.models.turn
	if err != nil {
		return nil, nil, err
	}
	a := &explainAnswer{File: p.name, Width: im.W, Height: im.H, Result: result}
	if !draw {
		return a, nil, nil
	}
	var b bytes.Buffer
	if err := result.Heatmap(im, p.name, "the model").EncodePNG(&b); err != nil {
		return nil, nil, err
	}
	return a, b.Bytes(), nil
}

// scalesOf returns the parameter scales, such as 256,384, nil if there is none.
func scalesOf(values url.Values, side int) ([]int, error) {
	if !values.Has("scales") {
		return nil, nil
	}
	parts := strings.Split(values.Get("scales"), ",")
	if len(parts) > mostScales {
		return nil, badRequest("parameter scales has %d, the most is %d", len(parts), mostScales)
	}
	var scales []int
	for _, text := range parts {
		q, err := strconv.Atoi(text)
		if err != nil || q < 1 {
			return nil, badRequest("parameter scales has %q, want whole numbers, such as 256,384", abbreviated(text))
		}
		if err := checkScale("scales", q, side); err != nil {
			return nil, err
		}
		scales = append(scales, q)
	}
	return scales, nil
}
