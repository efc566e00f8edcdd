package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
	"github.com/verydeep/vgg/weights"
)

// featuresAnswer is the answer about a picture: a line of the file that `vgg features
// --out FILE.jsonl` writes.
type featuresAnswer struct {
	File       string    `json:"file"`
	Descriptor []float32 `json:"descriptor,omitempty"`
	Error      string    `json:"error,omitempty"`
}

// featuresParameters are the parameters of features that choose a descriptor, the flags of the
// command.
var featuresParameters = []string{"layer", "scales", "average", "unrectified", "pool", "flip", "normalise"}

// features describes pictures by the activation of a layer: as JSON, or as an array of NumPy
// with a row for each picture.
func (s *Server) features(w http.ResponseWriter, r *http.Request) error {
	query, h, g, release, err := s.askedAny(r, append([]string{"model", "format"}, featuresParameters...)...)
	if err != nil {
		return err
	}
	defer release()
	form, err := formOf(r, query, npyForm)
	if err != nil {
		return err
	}
	describer, question, err := g.describer(query)
	if err != nil {
		return err
	}
	list, free, err := s.pictures(r)
	if err != nil {
		return err
	}
	defer free()
	results := make([]featuresAnswer, len(list))
	for i, p := range list {
		results[i].File = p.name
		x, err := s.described(r.Context(), h, g, describer, question, p.data)
		if err == nil {
			results[i].Descriptor = x
			continue
		}
		told, ends := ofPicture(i, len(list), err)
		if ends == nil && form != "json" { // a row of numbers can't tell
			ends = fmt.Errorf("picture %d: %w", i, err)
		}
		if ends != nil {
			return ends
		}
		results[i].Error = told
	}
	switch {
	case form == "npy":
		data := weights.NPYHeader(len(results), describer.Dim())
		for _, f := range results {
			for _, v := range f.Descriptor {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
			}
		}
		writeBytes(w, npyForm.kinds[0], data)
	case len(results) == 1:
		writeJSON(w, http.StatusOK, results[0])
	default:
		writeJSON(w, http.StatusOK, results)
	}
	return nil
}

// describer returns what describes pictures in the way of the parameters, and the question that
// they ask.
func (g *generation) describer(query url.Values) (*transfer.Describer, string, error) {
	scales, err := scalesOf(query, g.model.Net.Options().Input)
	if err != nil {
		return nil, "", err
	}
	o := transfer.Options{}
	normalise := true
	for _, p := range []struct {
		name string
		to   *bool
		def  bool
	}{{"average", &o.Average, false}, {"unrectified", &o.Unrectified, false}, {"flip", &o.Flip, true}, {"normalise", &normalise, true}} {
		if *p.to, err = boolean(query, p.name, p.def); err != nil {
			return nil, "", err
		}
	}
	o.Raw = !normalise
	pool, err := chosen(query, "pool", "average", "max")
	if err != nil {
		return nil, "", err
	}
	o.Max = pool == "max"
	net := transfer.Net{Weights: "the model", Layer: query.Get("layer"), Scales: scales, Open: func() (*vgg.Model, error) { return g.model, nil }}
	d, err := transfer.NewDescriber([]transfer.Net{net}, o)
	if err != nil {
		return nil, "", badRequest("%w", err)
	}
	return d, fmt.Sprintf("descriptor %q %v %+v", net.Layer, scales, o), nil
}

// described returns the descriptor of a picture.
func (s *Server) described(ctx context.Context, h *hosted, g *generation, d *transfer.Describer, question string, data []byte) (x []float32, err error) {
	start := time.Now()
	defer func() { h.count(start, err) }()
	key := keyOf(g.number, question, data)
	if kept := s.answers.get(key); kept != nil {
		s.metrics.answers.WithLabelValues(h.source.Name, "hit").Inc()
		h.stats.add("cache_hit", time.Since(start))
		return kept, nil
	}
	place, err := g.batcher.enter(1)
	if err != nil {
		return nil, err
	}
	defer place.leave()
	images, release, err := s.decodeWays(ctx, d.Orients(), data)
	if err != nil {
		return nil, err
	}
	defer release()
	for _, im := range images {
		if err := s.fitsDescriber(d, im); err != nil {
			return nil, err
		}
	}
	h.stats.add("compute_input", time.Since(start))
	j, err := g.batcher.alone(ctx, place, func(ctx context.Context) (err error) {
		x, err = d.Describe(ctx, images)
		return err
	})
	if err != nil {
		return nil, notFinite(err)
	}
	h.computed(j)
	s.metrics.answers.WithLabelValues(h.source.Name, "miss").Inc()
	h.stats.add("cache_miss", time.Since(start))
	s.answers.put(key, x)
	return x, nil
}

// decodeWays decodes a picture each way up.
func (s *Server) decodeWays(ctx context.Context, ways []preprocess.Orient, data []byte) (map[preprocess.Orient]*preprocess.Image, func(), error) {
	images := map[preprocess.Orient]*preprocess.Image{}
	var releases []func()
	release := func() {
		for _, f := range releases {
			f()
		}
	}
	for _, o := range ways {
		im, free, err := s.decode(ctx, o, data)
		if err != nil {
			release()
			return nil, nil, err
		}
		images[o], releases = im, append(releases, free)
	}
	return images, release, nil
}

// fitsDescriber refuses a picture whose passes take too much memory.
func (s *Server) fitsDescriber(d *transfer.Describer, im *preprocess.Image) error {
	need, err := d.PassBytes(im.W, im.H)
	if err != nil {
		return badRequest("%w", err)
	}
	if most := s.options.Limits.Pass; need > most {
		return refuse(http.StatusRequestEntityTooLarge, "pass", "a picture of %d×%d pixels takes %s in the network, the service gives %s to a pass", im.W, im.H, report.Bytes(need), report.Bytes(most))
	}
	return nil
}
