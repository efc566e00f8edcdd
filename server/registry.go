package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// Source is where a model comes from.
type Source struct {
	// Name is the model's in addresses.
	Name string
	// Open reads the model. It is called anew at each reload.
	Open func(ctx context.Context) (*vgg.Model, error)
	// Stamp returns what changes when the file of weights does, such as its size and time of
	// change; nil: the file is never looked at again.
	Stamp func() (string, error)

	taught bool // made by a request: a request that names no model doesn't mean it
}

// registry holds the models by name.
type registry struct {
	limits Limits
	batch  int
	delay  time.Duration
	turn   chan struct{}
	watch  *metrics
	lost   func(error) // is told of a device that failed

	mu     sync.RWMutex
	models map[string]*hosted
	next   atomic.Int64 // number of the next generation
}

// hosted is a model with its name, through all its reloads.
type hosted struct {
	source Source
	stats  *statistics

	loading sync.Mutex // one reload at a time
	mu      sync.Mutex
	current *generation // nil: unloaded
	stamp   string      // of the file that was read last
	reason  string      // why the latest reload failed
}

// generation is a model as one reading of its file gave it.
type generation struct {
	number  int64 // no two generations of a process have the same
	model   *vgg.Model
	batcher *batcher
	uses    sync.WaitGroup
}

// newRegistry returns an empty registry.
func newRegistry(o Options, m *metrics, lost func(error)) *registry {
	return &registry{lost: lost, limits: o.Limits, batch: o.MaxBatch, delay: o.MaxDelay, turn: make(chan struct{}, 1), watch: m, models: map[string]*hosted{}}
}

// names lists the models, sorted.
func (r *registry) names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.models))
}

// find returns the model of that name, or a failure. The empty name is that of the only
// model that wasn't taught.
func (r *registry) find(name string) (*hosted, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if name == "" {
		var only *hosted
		n := 0
		for _, h := range r.models {
			if !h.source.taught {
				only, n = h, n+1
			}
		}
		if n == 1 {
			return only, nil
		}
	}
	h, ok := r.models[name]
	switch {
	case ok:
		return h, nil
	case name == "" && len(r.models) > 1:
		return nil, badRequest("several models are served: say which one, as in ?model=%s", slices.Sorted(maps.Keys(r.models))[0])
	case len(r.models) == 0:
		return nil, &failure{code: http.StatusNotFound, err: fmt.Errorf("%w: none is served", errUnknownModel)}
	}
	return nil, &failure{code: http.StatusNotFound, err: fmt.Errorf("%w: %s is not served, /v2/repository/index lists what is", errUnknownModel, strconv.Quote(abbreviated(name)))}
}

// abbreviated shortens what comes from a request for a message.
func abbreviated(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// add makes a model known and loads it.
func (r *registry) add(ctx context.Context, s Source) error {
	if err := checkName(s.Name); err != nil {
		return err
	}
	if s.Open == nil {
		return fmt.Errorf("server: model %s has no Open", s.Name)
	}
	r.mu.Lock()
	if _, ok := r.models[s.Name]; ok {
		r.mu.Unlock()
		return fmt.Errorf("server: two models are called %s: name one otherwise (NAME=FILE)", s.Name)
	}
	h := &hosted{source: s, stats: &statistics{}}
	r.models[s.Name] = h
	r.mu.Unlock()
	err := r.load(ctx, h)
	if err != nil {
		r.mu.Lock()
		delete(r.models, s.Name)
		r.mu.Unlock()
	}
	return err
}

// remove takes a model out of service, after the requests that use it.
func (r *registry) remove(name string) error {
	h, err := r.find(name)
	if err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.models, h.source.Name)
	r.mu.Unlock()
	h.unload()
	return nil
}

// checkName reports a name that can't be a part of an address.
func checkName(name string) error {
	if name == "" || len(name) > 200 {
		return fmt.Errorf("server: a model's name of %d bytes, want 1 to 200", len(name))
	}
	if strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == '/' || c == '\\' || c == '?' || c == '#' || c == 0x7f }) || name == "." || name == ".." {
		return fmt.Errorf("server: %q can't be a model's name: it has / or another sign of addresses", name)
	}
	return nil
}

// load reads the model anew, runs it once, and puts it in the place of the one that is
// served. If that fails, the old one stays.
func (r *registry) load(ctx context.Context, h *hosted) error {
	h.loading.Lock()
	defer h.loading.Unlock()
	var stamp string
	if h.source.Stamp != nil {
		stamp, _ = h.source.Stamp() // a file that has gone is told by Open
	}
	g, err := r.open(ctx, h)
	h.mu.Lock()
	h.stamp = stamp
	if err != nil {
		h.reason = "the weights can't be read: the log of the service says why"
		h.mu.Unlock()
		return err
	}
	old := h.current
	h.current, h.reason = g, ""
	h.mu.Unlock()
	if old != nil {
		go old.retire()
	}
	return nil
}

// open reads and warms a generation.
func (r *registry) open(ctx context.Context, h *hosted) (*generation, error) {
	m, err := h.source.Open(ctx)
	if err != nil {
		return nil, err
	}
	if m == nil || m.Net == nil {
		return nil, errors.New("server: a model without a network")
	}
	side := m.Net.Options().Input
	x := tensor.New(1, 3, side, side)
	shape, err := m.Net.OutputShape(1, side, side)
	if err != nil {
		return nil, err
	}
	y := tensor.New(shape...)
	r.turn <- struct{}{}
	err = m.Net.ForwardContext(ctx, y, x)
	<-r.turn
	if err != nil {
		if errors.Is(err, nn.ErrDevice) {
			r.lost(err)
		}
		return nil, err
	}
	if !tensor.Finite(y.Data) {
		return nil, fmt.Errorf("%w for a picture of the mean colour", vgg.ErrNotFinite)
	}
	number := r.next.Add(1)
	name := h.source.Name
	b := newBatcher(m.Net, r.limits, r.batch, r.delay, r.turn, func(p pass) {
		h.stats.pass(p)
		r.watch.pass(name, p)
	}, r.lost)
	return &generation{number: number, model: m, batcher: b}, nil
}

// fitsScales refuses a picture of w × h pixels whose maps at one of the scales take too much
// memory.
func (g *generation) fitsScales(w, h int, scales []int) error {
	side := g.model.Net.Options().Input
	for _, q := range scales {
		sw, sh := g.model.Preprocess.Fit.Size(w, h, max(q, side))
		need, err := eval.MapBytes(g.model, sw, sh)
		if err != nil {
			return badRequest("an image of %d×%d pixels: %w", sw, sh, err)
		}
		if err := g.batcher.fitsPass(sh, sw, need); err != nil {
			return err
		}
	}
	return nil
}

// onlyVersion is the version of every model.
const onlyVersion = "1"

// hasVersion reports a version, if one is asked for, that the model doesn't have.
func (h *hosted) hasVersion(version string) error {
	if version != "" && version != onlyVersion {
		return &failure{code: http.StatusNotFound, err: fmt.Errorf("%w: %s has version %s alone", errUnknownModel, h.source.Name, onlyVersion)}
	}
	return nil
}

// use returns the generation that is served, and its release.
func (h *hosted) use() (*generation, func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		return nil, nil, refuse(http.StatusServiceUnavailable, "unloaded", "model %s is not loaded", h.source.Name)
	}
	g := h.current
	g.uses.Add(1)
	return g, g.uses.Done, nil
}

// unload takes the model out of service.
func (h *hosted) unload() {
	h.loading.Lock()
	defer h.loading.Unlock()
	h.mu.Lock()
	old := h.current
	h.current, h.reason = nil, "unloaded"
	h.mu.Unlock()
	if old != nil {
		old.retire()
	}
}

// ready tells whether the model is served, and else why not.
func (h *hosted) ready() (bool, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current != nil, h.reason
}

// changed tells whether the file has another stamp than when it was read.
func (h *hosted) changed() bool {
	if h.source.Stamp == nil {
		return false
	}
	stamp, err := h.source.Stamp()
	h.mu.Lock()
	defer h.mu.Unlock()
	return err == nil && h.current != nil && stamp != h.stamp
}

// retire frees a generation once no request uses it.
func (g *generation) retire() {
	g.uses.Wait()
	g.batcher.close()
	g.model.Net.Chain().Release()
}

// close ends all models.
func (r *registry) close() {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, h := range r.models {
		h.unload()
	}
}
