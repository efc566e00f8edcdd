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
	way := descriptors{h.source.Name, g.number, g.batcher, describer, question, h.stats}
	results := make([]featuresAnswer, len(list))
	for i, p := range list {
		results[i].File = p.name
		x, err := way.of(r.Context(), s, p.data, nil)
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
		results[i].Error = told.Error()
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

// descriptors is a way to describe pictures: one of a model, or the index's.
type descriptors struct {
	label     string // in metrics
	number    int64  // of the reading of the weights
	batcher   *batcher
	describer *transfer.Describer
	question  string
	stats     *statistics // nil: none are kept
}

// of returns the descriptor of a picture, computed or kept. use, if it isn't nil, is called with
// it in the same turn.
func (d descriptors) of(ctx context.Context, s *Server, data []byte, use func(context.Context, []float32) error) (x []float32, err error) {
	start := time.Now()
	defer func() { d.stats.count(start, err) }()
	key := keyOf(d.number, d.question, data)
	x = s.answers.get(key)
	result := "miss"
	if x != nil {
		result = "hit"
	}
	var images map[preprocess.Orient]*preprocess.Image
	if x == nil || use != nil {
		place, err := d.batcher.enter(1)
		if err != nil {
			return nil, err
		}
		defer place.leave()
		if x == nil {
			var release func()
			if images, release, err = s.decodeWays(ctx, d.describer.Orients(), data); err != nil {
				return nil, err
			}
			defer release()
			for _, im := range images {
				if err := s.fitsDescriber(d.describer, im); err != nil {
					return nil, err
				}
			}
			d.stats.add("compute_input", time.Since(start))
		}
		j, err := d.batcher.alone(ctx, place, func(ctx context.Context) (err error) {
			if x == nil {
				x, err = d.describer.Describe(ctx, images)
			}
			if err == nil && use != nil {
				err = use(ctx, x)
			}
			return err
		})
		if err != nil {
			return nil, notFinite(err)
		}
		d.stats.computed(j)
	}
	s.metrics.answers.WithLabelValues(d.label, result).Inc()
	d.stats.add("cache_"+result, time.Since(start))
	if result == "miss" {
		s.answers.put(key, x)
	}
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
