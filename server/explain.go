package server

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/explain"
	"github.com/verydeep/vgg/report"
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

// mostMapValues is the most values of maps in an answer: about 40 MB of JSON.
const mostMapValues = 4 << 20

// explain shows where a picture's classes are: as JSON, or as a PNG of heat maps.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	query, h, g, release, err := s.asked(r, "model", "top", "class", "classes", "scales", "maps", "format", "method", "layer")
	if err != nil {
		return err
	}
	defer release()
	top, err := integer(query, "top", 3, 1, 20) // all classes if there are fewer
	if err != nil {
		return err
	}
	classes, err := classesOf(query, g.model)
	if err != nil {
		return err
	}
	scales, err := scalesOf(query, g.model.Net.Options().Input)
	if err != nil {
		return err
	}
	o := explain.Options{Scales: scales, Top: top, Indices: classes, Layer: query.Get("layer")}
	method, err := chosen(query, "method", explain.MethodNames()...)
	if err != nil {
		return err
	}
	if o.Method = explain.Method(method); o.Layer != "" && o.Method != explain.GradCAM {
		return badRequest("parameter layer with method %s, want method=%s", method, explain.GradCAM)
	}
	maps, err := boolean(query, "maps", false)
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
	question := "explain " + format + " " + query.Encode()
	return s.kept(w, h, g.number, question, p, func() (string, []byte, error) {
		return s.explained(r.Context(), h, g, p, o, format == "png", maps)
	})
}

// explained computes the maps, one request at a time, and returns the response: the maps drawn,
// or the answer as JSON, with the values of the maps if asked for.
func (s *Server) explained(ctx context.Context, h *hosted, g *generation, p picture, o explain.Options, draw, maps bool) (kind string, body []byte, err error) {
	place, im, release, err := s.placed(ctx, g.batcher, g.model.Preprocess.Orient, p.data)
	if err != nil {
		return "", nil, err
	}
	defer release()
	if o.Method == explain.ScoreMap {
		if o.Scales == nil {
			o.Scales = explain.DefaultScales(g.model)
		}
		err = g.fitsScales(im.W, im.H, o.Scales)
	} else {
		err = s.fitsGradients(g.model, im.W, im.H, o)
	}
	if err != nil {
		return "", nil, err
	}
	a := &explainAnswer{File: p.name, Width: im.W, Height: im.H}
	j, err := g.batcher.alone(ctx, place, func(ctx context.Context) (err error) {
		a.Result, err = explain.Run(ctx, g.model, im, o)
		return err
	})
	if err != nil {
		return "", nil, notFinite(err)
	}
	h.stats.computed(j)
	if draw {
		var b bytes.Buffer
		if err := a.Heatmap(im, p.name, "the model").EncodePNG(&b); err != nil {
			return "", nil, err
		}
		return "image/png", b.Bytes(), nil
	}
	if maps {
		if err := a.addMaps(); err != nil {
			return "", nil, err
		}
	}
	body, err = jsonBody(a)
	return "application/json", body, err
}

// addMaps adds the values of the maps.
func (a *explainAnswer) addMaps() error {
	n := 0
	for _, scale := range a.Scales {
		n += len(a.Top) * scale.Rows * scale.Cols
	}
	if n > mostMapValues {
		return refuse(http.StatusRequestEntityTooLarge, "maps", "the maps have %d values, the most of an answer is %d: ask for fewer classes or scales, or for the picture (format=png)", n, mostMapValues)
	}
	for _, class := range a.Top {
		var maps [][]float32
		for i := range a.Scales {
			maps = append(maps, a.Map(class.Index, i))
		}
		a.Maps = append(a.Maps, maps)
	}
	return nil
}

// fitsGradients refuses a picture of w × h pixels whose gradients take too much memory.
func (s *Server) fitsGradients(m *vgg.Model, w, h int, o explain.Options) error {
	classes := o.Top
	if o.Indices != nil {
		classes = len(o.Indices)
	}
	need, err := explain.GradientBytes(m, w, h, classes, o)
	if err != nil {
		return badRequest("%w", err)
	}
	if most := s.options.Limits.Pass; need > most {
		return refuse(http.StatusRequestEntityTooLarge, "pass", "the gradients of a picture of %d×%d pixels take %s, the service gives %s to a pass: ask for smaller scales", w, h, report.Bytes(need), report.Bytes(most))
	}
	return nil
}

// classesOf returns the classes of the parameters classes, numbers such as 3,207, and class, a
// name or a number; nil if there are none.
func classesOf(values url.Values, m *vgg.Model) ([]int, error) {
	var classes []int
	n := outputsCount(m)
	number := func(parameter, text string) error {
		c, err := strconv.Atoi(text)
		if err != nil || c < 0 || c >= n {
			return badRequest("parameter %s has %q, want whole numbers from 0 to %d", parameter, abbreviated(text), n-1)
		}
		classes = append(classes, c)
		return nil
	}
	if values.Has("classes") {
		for text := range strings.SplitSeq(values.Get("classes"), ",") {
			if err := number("classes", text); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range values["class"] {
		if i := slices.Index(m.Classes, name); i >= 0 {
			classes = append(classes, i)
		} else if err := number("class", name); err != nil {
			return nil, badRequest("class %q: no class of the network, want one of its %d, or a number from 0 to %d", abbreviated(name), n, n-1)
		}
	}
	if len(classes) > mostClasses {
		return nil, badRequest("%d classes, the most is %d", len(classes), mostClasses)
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
