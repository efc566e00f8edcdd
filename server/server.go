// Package server answers questions about pictures over HTTP: classes by a plain way
// (curl -T cat.jpg http://…/v1/classify), where in a picture they are, and tensors by the Open
// Inference Protocol v2. Its page shows them.
//
// A [Server] is an [http.Handler] over any number of models, which it loads, warms, batches
// and replaces. It has bounds for whatever a request may ask for, and answers a request the
// same to the bit whatever else it runs beside it.
package server

import (
	"context"
	_ "embed" // openapi.json
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/resources"
)

// Options are a server's. The zero value serves on this machine alone: it answers requests
// whose Host is a loopback address.
type Options struct {
	Limits Limits
	// MaxBatch is the most images of a pass through the network; 0: 8.
	MaxBatch int
	// MaxDelay is how long a pass waits for more images.
	MaxDelay time.Duration
	// Keys returns the keys of which each request has to give one, as
	// "Authorization: Bearer KEY"; nil: no key is asked for.
	Keys func() []string
	// Hosts are the names by which the service may be called, without a port, beside
	// localhost and the loopback addresses. "*" allows any.
	Hosts []string
	// AllowLoad lets requests load and unload models.
	AllowLoad bool
	// AllowTeach lets requests make models of pictures, which takes the processors for minutes.
	AllowTeach bool
	// Samples are pictures that the page offers to try; there may be none.
	Samples Samples
	// Runs is a folder of training runs, of which the service tells; empty: of none.
	Runs string
	// Run is the name of the only run of the folder that it tells of; empty: of all.
	Run string
	// Version is told to clients.
	Version string
	// Log hears every request; nil: nobody.
	Log *slog.Logger
}

// Server is the handler of a service. Make it by New and end it by Close.
type Server struct {
	options      Options
	models       *registry
	localisers   *registry // one at most
	pictureIndex atomic.Pointer[index]
	runs         *runs
	metrics      *metrics
	answers      *answers
	decoding     *resources.Room
	bodies       atomic.Int64 // bytes of bodies in memory
	open         atomic.Int64 // requests
	draining     atomic.Bool
	lost         atomic.Bool   // a device failed
	decoders     chan struct{} // one element for each picture that is decoded
	senders      *senders
	mux          *http.ServeMux
	taught       *taught
	static       map[string]bool // addresses of the page's files, which need no key
	stop         context.CancelFunc
	watching     sync.WaitGroup

	following sync.Mutex
	followers []*follower
}

// New returns a server without models.
func New(o Options) (*Server, error) {
	if err := o.Limits.Validate(); err != nil {
		return nil, err
	}
	o.Limits = o.Limits.withDefaults()
	if o.MaxBatch == 0 {
		o.MaxBatch = 8
	}
	if o.MaxBatch < 1 || o.MaxBatch > 1024 {
		return nil, fmt.Errorf("server: MaxBatch %d, want 1 to 1024", o.MaxBatch)
	}
	if o.MaxDelay < 0 || o.MaxDelay > time.Minute {
		return nil, fmt.Errorf("server: MaxDelay %v, want 0 to a minute", o.MaxDelay)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := newMetrics(o.Version)
	s := &Server{
		options: o, metrics: m, answers: newAnswers(o.Limits.Answers),
		senders: &senders{}, taught: newTaught(),
		decoding: resources.NewRoom(o.Limits.Decoding, o.Limits.Decoding), decoders: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	s.runs = &runs{folder: o.Runs, only: o.Run, logs: map[string]*runLog{}}
	s.models, s.localisers = newRegistry(o, m, s.lose), newRegistry(o, m, s.lose)
	s.localisers.turn = s.models.turn
	m.watchQueues(s.models)
	s.route()
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.watching.Go(func() { s.watch(ctx) })
	return s, nil
}

// Add reads a model, runs it once and serves it.
func (s *Server) Add(ctx context.Context, source Source) error {
	start := time.Now()
	err := s.models.add(ctx, source)
	s.reloaded(source.Name, start, err)
	return err
}

// AddModel serves a model that is in memory.
func (s *Server) AddModel(ctx context.Context, name string, m *vgg.Model) error {
	return s.Add(ctx, Source{Name: name, Open: func(context.Context) (*vgg.Model, error) { return m, nil }})
}

// Remove takes a model out of service, after the requests that use it.
func (s *Server) Remove(name string) error {
	return s.models.remove(name)
}

// Reload reads a model anew, runs it once and serves it in the place of the one before. If
// that fails, the one before stays, and so it does until then.
func (s *Server) Reload(ctx context.Context, name string) error {
	return s.reload(ctx, s.models, name)
}

func (s *Server) reload(ctx context.Context, models *registry, name string) error {
	h, err := models.find(name)
	if err != nil {
		return err
	}
	start := time.Now()
	err = models.load(ctx, h)
	s.reloaded(h.source.Name, start, err)
	return err
}

// ReloadAll reads everything anew that the service reads: the models, the localisation network
// and the index. What can't be read stays as it was, and is told in the log.
func (s *Server) ReloadAll(ctx context.Context) {
	for _, models := range []*registry{s.models, s.localisers} {
		for _, name := range models.names() {
			_ = s.reload(ctx, models, name)
		}
	}
	s.reloadIndex(ctx)
}

// reloadIndex reads the index anew, if there is one.
func (s *Server) reloadIndex(ctx context.Context) {
	if x := s.pictureIndex.Load(); x != nil {
		start := time.Now()
		s.reloaded(indexLabel, start, s.loadIndex(ctx, x))
	}
}

// reloaded tells of a reading of weights.
func (s *Server) reloaded(name string, start time.Time, err error) {
	result := "ok"
	if err != nil {
		result = "failed"
		s.options.Log.Error("weights not read", "model", name, "error", err.Error())
	} else {
		s.options.Log.Info("model ready", "model", name, "seconds", time.Since(start).Seconds())
	}
	s.metrics.reloads.WithLabelValues(name, result).Inc()
}

// Models lists the names of the models, sorted.
func (s *Server) Models() []string { return s.models.names() }

// Drain refuses what comes from now on with code 503, and reports itself as not ready. What
// was accepted is answered.
func (s *Server) Drain() { s.draining.Store(true) }

// Close ends the server after the requests that it has accepted.
func (s *Server) Close() {
	s.Drain()
	s.stop()
	s.watching.Wait()
	if x := s.pictureIndex.Load(); x != nil {
		x.close()
	}
	s.localisers.close()
	s.models.close()
}

// watch reloads models whose files change.
func (s *Server) watch(ctx context.Context) {
	const every = time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	pending := map[*hosted]string{} // stamps that were new at the last look: the file may be half written
	pendingIndex := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, models := range []*registry{s.models, s.localisers} {
			for _, name := range models.names() {
				h, err := models.find(name)
				if err != nil {
					continue
				}
				if !h.changed() {
					delete(pending, h)
					continue
				}
				stamp, err := h.source.Stamp()
				if err != nil || pending[h] != stamp {
					pending[h] = stamp
					continue
				}
				delete(pending, h)
				_ = s.reload(ctx, models, name) // told in the log and in metrics
			}
		}
		if x := s.pictureIndex.Load(); x != nil && x.changed() {
			if stamp, err := x.source.Stamp(); err == nil && stamp == pendingIndex {
				s.reloadIndex(ctx)
			} else {
				pendingIndex = stamp
			}
		}
		s.following.Lock()
		for _, f := range s.followers {
			_ = f.look(ctx) // a folder that can't be read for a moment changes nothing
		}
		s.following.Unlock()
	}
}

// routes are the addresses that openapi.json describes.
func (s *Server) routes() map[string]func(http.ResponseWriter, *http.Request) error {
	return map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /v2":                                          s.serverMetadata,
		"GET /v2/health/live":                              s.live,
		"GET /v2/health/ready":                             s.ready,
		"GET /v2/models/stats":                             s.allStatistics,
		"POST /v2/repository/index":                        s.repositoryIndex,
		"POST /v2/repository/models/{model}/load":          s.loadModel,
		"POST /v2/repository/models/{model}/unload":        s.unloadModel,
		"GET /v2/models/{model}":                           s.modelMetadata,
		"GET /v2/models/{model}/ready":                     s.modelReady,
		"GET /v2/models/{model}/config":                    s.modelConfig,
		"GET /v2/models/{model}/stats":                     s.modelStatistics,
		"POST /v2/models/{model}/infer":                    s.infer,
		"GET /v2/models/{model}/versions/{version}":        s.modelMetadata,
		"GET /v2/models/{model}/versions/{version}/ready":  s.modelReady,
		"GET /v2/models/{model}/versions/{version}/config": s.modelConfig,
		"GET /v2/models/{model}/versions/{version}/stats":  s.modelStatistics,
		"POST /v2/models/{model}/versions/{version}/infer": s.infer,
		"GET /v1/samples":                                  s.listSamples,
		"GET /v1/samples/{number}":                         s.samplePicture,
		"POST " + teachAddress:                             s.teach,
		"GET /v1/teach/{model}":                            s.taughtFile,
		"POST /v1/classify":                                s.classify,
		"PUT /v1/classify":                                 s.classify,
		"PUT /v1/classify/{file}":                          s.classify, // curl -T cat.jpg …/v1/classify/
		"POST /v1/explain":                                 s.explain,
		"PUT /v1/explain":                                  s.explain,
		"PUT /v1/explain/{file}":                           s.explain,
		"POST /v1/features":                                s.features,
		"PUT /v1/features":                                 s.features,
		"PUT /v1/features/{file}":                          s.features,
		"GET /v1/localize":                                 s.aboutLocaliser,
		"POST /v1/localize":                                s.localize,
		"PUT /v1/localize":                                 s.localize,
		"PUT /v1/localize/{file}":                          s.localize,
		"POST /v1/similar":                                 s.similar,
		"PUT /v1/similar":                                  s.similar,
		"PUT /v1/similar/{file}":                           s.similar,
		"POST /v1/activations":                             s.activations,
		"PUT /v1/activations":                              s.activations,
		"PUT /v1/activations/{file}":                       s.activations,
		"POST /v1/preprocess":                              s.preprocess,
		"PUT /v1/preprocess":                               s.preprocess,
		"PUT /v1/preprocess/{file}":                        s.preprocess,
		"GET /v1/layers":                                   s.layers,
		"GET /v1/runs":                                     s.listRuns,
		"GET /v1/runs/{name}":                              s.oneRun,
		"GET /v1/index":                                    s.aboutIndex,
		"GET /v1/index/duplicates":                         s.nearDuplicates,
		"GET /v1/index/{index}/picture":                    s.indexPicture,
	}
}

// openAPI describes the service.
//
//go:embed openapi.json
var openAPI []byte

// route makes the table of addresses.
func (s *Server) route() {
	s.mux = http.NewServeMux()
	for pattern, handle := range s.routes() {
		s.mux.HandleFunc(pattern, s.answering(handle))
	}
	s.mux.HandleFunc("GET /openapi.json", s.answering(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI) // a client that has gone hears nothing
		return nil
	}))
	s.routePage()
	s.mux.Handle("GET /metrics", s.metrics.handler())
	s.routeGRPC()
}

// request is what is known of a request beside itself.
type request struct {
	id       string
	time     time.Duration // that it may take
	model    string        // once found
	endpoint string
	code     int // of a failure, where the answer's own doesn't tell it, as in gRPC
}

type requestKey struct{}

// about returns what is known of a request.
func about(r *http.Request) *request {
	a, ok := r.Context().Value(requestKey{}).(*request)
	if !ok {
		return &request{}
	}
	return a
}

// answering makes a handler of a function whose errors are answers.
func (s *Server) answering(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		about(r).endpoint = r.Pattern[strings.IndexByte(r.Pattern, ' ')+1:]
		if err := handle(w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

// fail sends an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errSlow) {
		w.Header().Set("Connection", "close")
	}
	s.failureOf(r.Context(), err).write(w)
}

// statusGone is the code, for metrics and the log alone, of requests whose clients have gone.
const statusGone = 499

// failureOf returns the failure that an error of a request is, and counts it.
func (s *Server) failureOf(ctx context.Context, err error) *failure {
	a, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		a = &request{time: s.options.Limits.Time}
	}
	switch {
	case errors.Is(err, errSlow): // its connection can't be read any more
	case errors.Is(context.Cause(ctx), errTimeOver):
		err = refuse(http.StatusServiceUnavailable, "time", "the request took longer than %v", a.time)
	case ctx.Err() != nil:
		err = &failure{code: statusGone, reason: "gone", err: errors.New("the client has gone")}
	}
	f := asFailure(err)
	if f.reason != "" {
		s.metrics.refused.WithLabelValues(f.reason).Inc()
	}
	if f.code == http.StatusInternalServerError {
		s.options.Log.Error("internal error", "request", a.id, "error", err.Error())
	}
	return f
}

// errTimeOver is the cause of the end of requests that take too long.
var errTimeOver = errors.New("time over")

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	a := &request{id: r.Header.Get("X-Request-Id"), endpoint: "other"}
	if !plainID(a.id) {
		a.id = uuid.NewString()
	}
	a.time = s.options.Limits.Time
	if r.URL.Path == teachAddress {
		a.time = s.options.Limits.TeachTime
	}
	ctx, cancel := context.WithTimeoutCause(context.WithValue(r.Context(), requestKey{}, a), a.time, errTimeOver)
	defer cancel()
	r = r.WithContext(ctx)
	out := &recorder{ResponseWriter: w}
	if r.Body != nil && r.Body != http.NoBody {
		body := &sentBody{ReadCloser: r.Body, senders: s.senders, control: http.NewResponseController(out)}
		defer body.senders.end(body)
		r.Body = body
	}
	out.Header().Set("X-Request-Id", a.id)
	out.Header().Set("X-Content-Type-Options", "nosniff")
	s.metrics.open.Inc()
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.options.Log.Error("panic", "request", a.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if out.code == 0 {
				asFailure(errors.New("panic")).write(out)
			}
		}
		s.metrics.open.Dec()
		took := time.Since(start)
		code := out.status()
		if a.code != 0 {
			code = a.code
		}
		s.metrics.request(a.model, a.endpoint, code, took)
		s.options.Log.Info("request", "request", a.id, "traceparent", r.Header.Get("Traceparent"), "method", r.Method, "endpoint", a.endpoint, "model", a.model,
			"code", code, "bytes", out.bytes, "milliseconds", float64(took.Microseconds())/1000)
	}()
	defer s.open.Add(-1)
	switch n := s.open.Add(1); {
	case n > int64(s.options.Limits.Requests) && !s.senders.cut():
		out.Header().Set("Connection", "close") // else the answer waits for the rest of the body
		s.fail(out, r, refuse(http.StatusTooManyRequests, "requests", "the service answers %d requests already", s.options.Limits.Requests))
	case !s.allowed(out, r):
	case s.draining.Load() && !strings.HasPrefix(r.URL.Path, "/v2/health/") && r.URL.Path != "/metrics":
		out.Header().Set("Connection", "close")
		s.fail(out, r, errStopping)
	default:
		s.serve(out, r)
	}
}

// serve finds the handler of a request. Addresses and methods that there are not get the
// errors of the protocol, as JSON.
func (s *Server) serve(w *recorder, r *http.Request) {
	if _, pattern := s.mux.Handler(r); pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, p := s.mux.Handler(other); p != "" {
			methods = append(methods, m)
		}
	}
	if methods != nil {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		s.fail(w, r, &failure{code: http.StatusMethodNotAllowed, err: fmt.Errorf("method %s, want %s", abbreviated(r.Method), strings.Join(methods, " or "))})
		return
	}
	s.fail(w, r, &failure{code: http.StatusNotFound, err: fmt.Errorf("no such address: %s", abbreviated(r.URL.Path))})
}

// recorder keeps the code of an answer.
type recorder struct {
	http.ResponseWriter
	code  int
	bytes int64
}

func (w *recorder) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) status() int {
	if w.code == 0 {
		return http.StatusOK
	}
	return w.code
}

// plainID tells whether an id from a request can stand in a log.
func plainID(id string) bool {
	if id == "" || len(id) > 100 {
		return false
	}
	return !strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

// find returns the model that a request asks for, and its release.
func (s *Server) find(r *http.Request, name, version string) (*hosted, *generation, func(), error) {
	return s.findFor(about(r), name, version)
}

func (s *Server) findFor(a *request, name, version string) (*hosted, *generation, func(), error) {
	h, err := s.models.find(name)
	if err != nil {
		return nil, nil, nil, err
	}
	a.model = h.source.Name
	if err := h.hasVersion(version); err != nil {
		return nil, nil, nil, err
	}
	g, release, err := h.use()
	return h, g, release, err
}

// discard reads the rest of a body that nobody wants, as far as that is cheap.
func discard(r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 64<<10) }
