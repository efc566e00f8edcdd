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

// mostScales and mostClasses are the most scales and classes of a request.
const (
	mostScales  = 5
	mostClasses = 20
)

// explain shows where a picture's classes are: as JSON, or as a PNG of heat maps.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	query, h, g, release, err := s.asked(r, "model", "top", "classes", "scales", "maps", "format")
	if err != nil {
		return err
	}
	defer release()
	top, err := integer(query, "top", 3, 1, 20) // all classes if there are fewer
	if err != nil {
		return err
	}
	classes, err := classesOf(query, outputsCount(g.model))
	if err != nil {
		return err
	}
	scales, err := scalesOf(query, g.model.Net.Options().Input)
	if err != nil {
		return err
	}
	format, err := formOf(r, query, pngForm)
	if err != nil {
		return err
	}
	p, free, err := s.onePicture(r)
	if err != nil {
		return err
	}
	defer free()
	start := time.Now()
	answer, picture, err := s.explained(r.Context(), h, g, p, scales, top, classes, format == "png")
	h.count(start, err)
	if err != nil {
		return err
	}
	if format == "png" {
		writeBytes(w, "image/png", picture)
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
func (s *Server) explained(ctx context.Context, h *hosted, g *generation, p picture, scales []int, top int, classes []int, draw bool) (*explainAnswer, []byte, error) {
	place, err := g.batcher.enter(1)
	if err != nil {
		return nil, nil, err
	}
	defer place.leave()
	im, release, err := s.decode(ctx, g.model.Preprocess.Orient, p.data)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	if scales == nil {
		scales = explain.DefaultScales(g.model)
	}
	if err := g.fitsScales(im.W, im.H, scales); err != nil {
		return nil, nil, err
	}
	var result *explain.Result
	j, err := g.batcher.alone(ctx, place, func(ctx context.Context) (err error) {
		result, err = explain.Run(ctx, g.model, im, explain.Options{Scales: scales, Top: top, Indices: classes})
		return err
	})
	if err != nil {
		return nil, nil, notFinite(err)
	}
	h.computed(j)
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

// classesOf returns the parameter classes, numbers of n classes such as 3,207, nil if there is
// none.
func classesOf(values url.Values, n int) ([]int, error) {
	if !values.Has("classes") {
		return nil, nil
	}
	parts := strings.Split(values.Get("classes"), ",")
	if len(parts) > mostClasses {
		return nil, badRequest("parameter classes has %d, the most is %d", len(parts), mostClasses)
	}
	var classes []int
	for _, text := range parts {
		c, err := strconv.Atoi(text)
		if err != nil || c < 0 || c >= n {
			return nil, badRequest("parameter classes has %q, want whole numbers from 0 to %d", abbreviated(text), n-1)
		}
		classes = append(classes, c)
	}
	return classes, nil
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
