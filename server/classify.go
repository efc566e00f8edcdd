package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/tensor"
)

// classifyAnswer is the answer about a picture. Its keys are those of `vgg classify --json`.
type classifyAnswer struct {
	File string `json:"file"`
	vgg.Answer
	Error string `json:"error,omitempty"`
}

// classify names the classes of pictures. One picture has one object as its answer, several
// pictures a list.
func (s *Server) classify(w http.ResponseWriter, r *http.Request) error {
	query, h, g, release, err := s.asked(r, "model", "top", "scale", "threshold")
	if err != nil {
		return err
	}
	defer release()
	top, err := integer(query, "top", 0, 1, 1_000_000) // all classes if there are fewer
	if err != nil {
		return err
	}
	side := g.model.Net.Options().Input
	scale, err := integer(query, "scale", g.model.Preprocess.Resize, 1, 1_000_000)
	if err == nil {
		err = checkScale("scale", scale, side)
	}
	if err != nil {
		return err
	}
	thresholds, err := thresholdsOf(query, len(g.model.Classes))
	if err != nil {
		return err
	}
	list, free, err := s.pictures(r)
	if err != nil {
		return err
	}
	defer free()
	results := make([]classifyAnswer, len(list))
	all, err := s.scores(r.Context(), h, g, list, scale)
	if err != nil {
		return err
	}
	for i, p := range list {
		results[i].File = p.name
		if all[i].err != nil {
			results[i].Error = all[i].err.Error()
		} else {
			results[i].Answer = g.model.Answer(all[i].scores, top, thresholds)
		}
	}
	if len(list) == 1 {
		writeJSON(w, http.StatusOK, results[0])
	} else {
		writeJSON(w, http.StatusOK, results)
	}
	return nil
}

// ofPicture decides about the error of picture i of n. One that the picture itself is to blame
// for is told in its answer, as the others have theirs; another ends the request.
func ofPicture(i, n int, err error) (told, ends error) {
	f, ok := errors.AsType[*failure](err)
	switch {
	case n == 1:
		return nil, err
	case ok && f.code == http.StatusBadRequest:
		return err, nil
	}
	return nil, fmt.Errorf("picture %d: %w", i, err)
}

// asked returns the parameters of a request and the network that it asks, one of classes.
func (s *Server) asked(r *http.Request, known ...string) (query url.Values, h *hosted, g *generation, release func(), err error) {
	if query, h, g, release, err = s.askedAny(r, known...); err != nil {
		return nil, nil, nil, nil, err
	}
	if err = classifier(g.model); err != nil {
		release()
		discard(r)
		return nil, nil, nil, nil, err
	}
	return query, h, g, release, nil
}

// askedAny is asked for a network with or without classes.
func (s *Server) askedAny(r *http.Request, known ...string) (query url.Values, h *hosted, g *generation, release func(), err error) {
	defer func() {
		if err != nil {
			discard(r)
		}
	}()
	if query, err = queryOf(r, known...); err != nil {
		return nil, nil, nil, nil, err
	}
	if h, g, release, err = s.find(r, query.Get("model"), ""); err != nil {
		return nil, nil, nil, nil, err
	}
	return query, h, g, release, nil
}

// classifier reports a network that names no classes.
func classifier(m *vgg.Model) error {
	switch {
	case m.Localisation != nil:
		return badRequest("this model gives boxes, not classes")
	case m.Net.Options().Headless():
		return badRequest("this model has features only, no classes")
	}
	return nil
}

// scored are the scores of a picture, or why it has none.
type scored struct {
	scores []float32
	err    error
}

// scores returns the scores of the classes for the central crop of each picture. The pictures
// are decoded beside each other and wait for a pass together. An error that a picture isn't to
// blame for ends them all.
func (s *Server) scores(ctx context.Context, h *hosted, g *generation, list []picture, scale int) ([]scored, error) {
	start := time.Now()
	all, keys := make([]scored, len(list)), make([]answerKey, len(list))
	var fresh []int
	for i, p := range list {
		keys[i] = keyOf(g.number, fmt.Sprintf("scores %d", scale), p.data)
		if all[i].scores = s.answers.get(keys[i]); all[i].scores == nil {
			fresh = append(fresh, i)
			continue
		}
		s.metrics.answers.WithLabelValues(h.source.Name, "hit").Inc()
		h.stats.add("cache_hit", time.Since(start))
		h.stats.count(start, nil)
	}
	if fresh == nil {
		return all, nil
	}
	places, err := g.batcher.enterEach(len(fresh))
	if err != nil {
		h.stats.count(start, err)
		return nil, err
	}
	return all, together(ctx, len(fresh), func(ctx context.Context, k int) error {
		i := fresh[k]
		defer places[k].leave()
		x, err := s.score(ctx, h, g, places[k], list[i].data, scale, start)
		h.stats.count(start, err)
		if err == nil {
			s.answers.put(keys[i], x)
			all[i].scores = x
			return nil
		}
		told, ends := ofPicture(i, len(list), err)
		all[i].err = told
		return ends
	})
}

// score computes the scores of a picture, which has a place in the queue.
func (s *Server) score(ctx context.Context, h *hosted, g *generation, place *place, data []byte, scale int, start time.Time) ([]float32, error) {
	side := g.model.Net.Options().Input
	x := tensor.New(1, 3, side, side)
	if err := s.see(ctx, g, x.Data, data, scale); err != nil {
		return nil, err
	}
	h.stats.add("compute_input", time.Since(start))
	j, err := g.batcher.forward(ctx, place, x)
	if err != nil {
		return nil, err
	}
	h.stats.computed(j)
	if !tensor.Finite(j.y.Data) {
		return nil, errNotFinite
	}
	s.metrics.answers.WithLabelValues(h.source.Name, "miss").Inc()
	h.stats.add("cache_miss", time.Since(start))
	return j.y.Data, nil
}

// together calls work for 0 to n-1 at the same time and returns the first error, which ends the
// others' context.
func together(ctx context.Context, n int, work func(ctx context.Context, i int) error) error {
	if n == 1 {
		return work(ctx, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var first error
	var once sync.Once
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := protected(func() error { return work(ctx, i) }); err != nil {
				once.Do(func() { first = err; cancel(err) })
			}
		})
	}
	all.Wait()
	return first
}

// queryOf returns the parameters of an address. Others than the known ones are an error.
func queryOf(r *http.Request, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the address: %w", err)
	}
	for name, v := range values {
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !found {
			return nil, badRequest("parameter %q is unknown, want some of %s", abbreviated(name), strings.Join(known, ", "))
		}
		if len(v) > 1 && name != "class" {
			return nil, badRequest("parameter %s is given %d times, want once", name, len(v))
		}
	}
	return values, nil
}

// integer returns a parameter from least to most.
func integer(values url.Values, name string, def, least, most int) (int, error) {
	if !values.Has(name) {
		return def, nil
	}
	n, err := strconv.Atoi(values.Get(name))
	if err != nil || n < least || n > most {
		return 0, badRequest("parameter %s of %q, want a whole number from %d to %d", name, abbreviated(values.Get(name)), least, most)
	}
	return n, nil
}

// checkScale reports a scale that the model, whose network has an input of side pixels, can't
// take.
func checkScale(name string, q, side int) error {
	if q < side || q > 16*side {
		return &failure{code: http.StatusConflict, err: fmt.Errorf("parameter %s of %d, the model takes %d to %d", name, q, side, 16*side)}
	}
	return nil
}

// thresholdsOf returns the parameter threshold for each of n labels, nil if there is none.
func thresholdsOf(values url.Values, n int) ([]float32, error) {
	if !values.Has("threshold") {
		return nil, nil
	}
	t, err := strconv.ParseFloat(values.Get("threshold"), 32)
	if err != nil || !(t >= 0 && t <= 1) {
		return nil, badRequest("parameter threshold of %q, want 0 to 1", abbreviated(values.Get("threshold")))
	}
	all := make([]float32, n)
	for i := range all {
		all[i] = float32(t)
	}
	return all, nil
}
