package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/explain"
	"github.com/verydeep/vgg/localize"
)

// localizeAnswer is the answer about the boxes of a picture. Its keys are those of
// `vgg localize --json`.
type localizeAnswer struct {
	File   string           `json:"file"`
	Width  int              `json:"width"`
	Height int              `json:"height"`
	Scales []int            `json:"scales"` // smallest sides of the picture that the network saw
	Boxes  []localize.Shown `json:"boxes"`
}

// errNoLocaliser is the failure where no localisation network is served.
var errNoLocaliser = &failure{code: http.StatusNotImplemented, err: errors.New("no localisation network is served: start the service with --localiser FILE")}

// SetLocaliser serves a localisation network, whose boxes /v1/localize gives, rated by the
// classification network that the request names. It replaces one that was set before.
func (s *Server) SetLocaliser(ctx context.Context, source Source) error {
	open := source.Open
	source.Open = func(ctx context.Context) (*vgg.Model, error) {
		m, err := open(ctx)
		if err == nil {
			err = (&localize.Locator{Nets: []localize.Net{{Model: m}}}).Check()
		}
		return m, err
	}
	for _, name := range s.localisers.names() {
		if err := s.localisers.remove(name); err != nil {
			return err
		}
	}
	start := time.Now()
	err := s.localisers.add(ctx, source)
	s.reloaded(source.Name, start, err)
	return err
}

// localiserAnswer describes the localisation network.
type localiserAnswer struct {
	Name        string   `json:"name"`
	Classes     []string `json:"classes"`
	SingleClass bool     `json:"single_class"` // one box, whatever the class
	Scale       int      `json:"scale"`        // smallest side of the picture without the parameter scales
	RatedBy     []string `json:"rated_by"`     // models that rate its boxes; without any a request names classes
}

// aboutLocaliser describes the localisation network that is served.
func (s *Server) aboutLocaliser(w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	h, err := s.localisers.find("")
	if err != nil {
		return errNoLocaliser
	}
	g, release, err := h.use()
	if err != nil {
		return err
	}
	defer release()
	l := &localize.Locator{Nets: []localize.Net{{Model: g.model}}}
	a := localiserAnswer{Name: h.source.Name, Classes: l.Classes(), SingleClass: l.SingleClass(), Scale: l.Scales()[0], RatedBy: []string{}}
	for _, name := range s.models.names() {
		m, err := s.models.find(name)
		if err != nil {
			continue // it has just gone
		}
		c, done, err := m.use()
		if err != nil {
			continue
		}
		l.Classifiers = []*vgg.Model{c.model}
		if l.Check() == nil {
			a.RatedBy = append(a.RatedBy, name)
		}
		done()
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// localize finds the boxes of objects in a picture: as JSON, or drawn as a PNG.
func (s *Server) localize(w http.ResponseWriter, r *http.Request) error {
	query, err := queryOf(r, "model", "top", "class", "all-boxes", "unmerged", "merge-below", "scales", "draw-classes", "format")
	if err != nil {
		discard(r)
		return err
	}
	boxes, err := s.localisers.find("")
	if err != nil {
		discard(r)
		return errNoLocaliser
	}
	g, release, err := boxes.use()
	if err != nil {
		discard(r)
		return err
	}
	defer release()
	form, err := formOf(r, query, pngForm)
	if err != nil {
		return err
	}
	l, rater, done, err := s.locator(about(r), query, g)
	if err != nil {
		discard(r)
		return err
	}
	defer done()
	choice, err := choiceOf(query, l)
	if err != nil {
		return err
	}
	drawn, err := integer(query, "draw-classes", 1, 1, 1000)
	if err != nil {
		return err
	}
	p, free, err := s.onePicture(r)
	if err != nil {
		return err
	}
	defer free()
	question := fmt.Sprintf("localize %s %d %s", form, rater, query.Encode())
	return s.kept(w, boxes, g.number, question, p, func() (string, []byte, error) {
		return s.located(r.Context(), boxes, g, l, p, choice, drawn, form == "png")
	})
}

// locator returns the localisation network with the classification network that rates its
// boxes: the one that the request names, or the only one with the same classes. rater is the
// number of that network's generation, 0 without one.
func (s *Server) locator(a *request, query url.Values, g *generation) (l *localize.Locator, rater int64, done func(), err error) {
	l = &localize.Locator{}
	below, err := number(query, "merge-below", localize.MergeThreshold, 0, 1000)
	if err != nil {
		return nil, 0, nil, err
	}
	if l.Threshold = below; below == 0 {
		l.Threshold = localize.NoMerge
	}
	scales, err := scalesOf(query, g.model.Net.Options().Input)
	if err != nil {
		return nil, 0, nil, err
	}
	l.Nets = []localize.Net{{Model: g.model, Scales: scales}}
	names := []string{query.Get("model")}
	if names[0] == "" {
		names = s.models.names()
	}
	for _, name := range names {
		_, c, release, err := s.findFor(a, name, "")
		if err == nil {
			rated := *l
			rated.Classifiers = []*vgg.Model{c.model}
			if err = rated.Check(); err == nil {
				return &rated, c.number, release, nil
			}
			release()
			err = badRequest("model %s doesn't rate these boxes: %w", name, err)
		}
		if query.Get("model") != "" {
			return nil, 0, nil, err
		}
	}
	a.model = "" // none of them
	if err := l.Check(); err != nil {
		return nil, 0, nil, badRequest("%w", err)
	}
	return l, 0, func() {}, nil
}

// choiceOf returns the boxes that the parameters choose.
func choiceOf(query url.Values, l *localize.Locator) (c localize.Choice, err error) {
	if c.Top, err = integer(query, "top", 5, 1, 1000); err != nil {
		return c, err
	}
	if c.All, err = boolean(query, "all-boxes", false); err != nil {
		return c, err
	}
	if c.Unmerged, err = boolean(query, "unmerged", false); err != nil {
		return c, err
	}
	if c.All && c.Unmerged {
		return c, badRequest("parameters all-boxes and unmerged both, want one of them")
	}
	for _, name := range query["class"] {
		i := slices.Index(l.Classes(), name)
		if i < 0 {
			return c, badRequest("class %q: not a class of the network, want one of its %d: %s", abbreviated(name), len(l.Classes()), strings.Join(l.Classes()[:min(10, len(l.Classes()))], ", "))
		}
		c.Classes = append(c.Classes, i)
	}
	if c.Classes != nil || len(l.Classifiers) > 0 {
		return c, nil
	}
	if !l.SingleClass() {
		return c, badRequest("no model with the classes of the localisation network rates its boxes: name classes, as in class=%s", l.Classes()[0])
	}
	c.Classes = []int{localize.AnyClass}
	return c, nil
}

// located finds the boxes and returns the response: drawn, or as JSON.
func (s *Server) located(ctx context.Context, h *hosted, g *generation, l *localize.Locator, p picture, c localize.Choice, drawn int, draw bool) (kind string, body []byte, err error) {
	place, im, release, err := s.placed(ctx, g.batcher, l.Orient(), p.data)
	if err != nil {
		return "", nil, err
	}
	defer release()
	if err := g.fitsScales(im.W, im.H, l.Nets[0].UsedScales()); err != nil {
		return "", nil, err
	}
	out := &localizeAnswer{File: p.name, Width: im.W, Height: im.H, Scales: l.Scales()}
	j, err := g.batcher.alone(ctx, place, func(ctx context.Context) error {
		a, err := l.Dense(ctx, im)
		if err == nil {
			out.Boxes = a.Show(c)
		}
		return err
	})
	if err != nil {
		return "", nil, notFinite(err)
	}
	h.stats.computed(j)
	if !draw {
		body, err = jsonBody(out)
		return "application/json", body, err
	}
	var b bytes.Buffer
	if err := explain.Boxes(im, out.Boxes, drawn, c.Unmerged).EncodePNG(&b); err != nil {
		return "", nil, err
	}
	return "image/png", b.Bytes(), nil
}
