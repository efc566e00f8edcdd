package server

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics tells.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	batches  *prometheus.HistogramVec
	compute  *prometheus.HistogramVec
	answers  *prometheus.CounterVec
	reloads  *prometheus.CounterVec
	open     prometheus.Gauge
}

// newMetrics returns metrics; waiting tells the images that wait, by model.
func newMetrics(version string) *metrics {
	seconds := prometheus.ExponentialBuckets(0.001, 2, 16) // 1 ms … 33 s
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vgg_requests_total", Help: "Requests by model, endpoint and code of the answer."}, []string{"model", "endpoint", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vgg_request_duration_seconds", Help: "Time of requests from the first byte to the end of the answer.", Buckets: seconds}, []string{"model", "endpoint"}),
		refused:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vgg_refused_total", Help: "Requests refused, by the limit that refused them."}, []string{"reason"}),
		batches:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vgg_batch_images", Help: "Images of a pass through the network.", Buckets: []float64{1, 2, 4, 8, 16, 32}}, []string{"model"}),
		compute:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vgg_pass_duration_seconds", Help: "Time of passes through the network.", Buckets: seconds}, []string{"model"}),
		answers:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vgg_answers_total", Help: "Answers by whether they were kept from before (hit) or computed (miss)."}, []string{"model", "result"}),
		reloads:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vgg_reloads_total", Help: "Readings of weights by model and result."}, []string{"model", "result"}),
		open:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "vgg_requests_open", Help: "Requests that are being answered."}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "vgg_build_info", Help: "1, with the version and the platform.", ConstLabels: prometheus.Labels{"version": version, "platform": runtime.GOOS + "/" + runtime.GOARCH}})
	info.Set(1)
	m.registry.MustRegister(m.requests, m.duration, m.refused, m.batches, m.compute, m.answers, m.reloads, m.open, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handler serves the metrics as text.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// pass counts a pass through the network of a model.
func (m *metrics) pass(model string, p pass) {
	if p.err != nil {
		return
	}
	m.batches.WithLabelValues(model).Observe(float64(p.images))
	m.compute.WithLabelValues(model).Observe(p.compute.Seconds())
}

// request counts a request. Only names of models that are served are labels.
func (m *metrics) request(model, endpoint string, code int, d time.Duration) {
	m.requests.WithLabelValues(model, endpoint, strconv.Itoa(code)).Inc()
	m.duration.WithLabelValues(model, endpoint).Observe(d.Seconds())
}

// watchQueues adds the images that wait, by model, which r tells.
func (m *metrics) watchQueues(r *registry) {
	m.registry.MustRegister(&queues{r, prometheus.NewDesc("vgg_queue_images", "Images that wait for a pass.", []string{"model"}, nil), prometheus.NewDesc("vgg_model_ready", "1 if the model is served.", []string{"model"}, nil)})
}

// queues collects what the registry tells at each reading.
type queues struct {
	registry    *registry
	wait, ready *prometheus.Desc
}

func (q *queues) Describe(c chan<- *prometheus.Desc) { c <- q.wait; c <- q.ready }

func (q *queues) Collect(c chan<- prometheus.Metric) {
	for _, name := range q.registry.names() {
		h, err := q.registry.find(name)
		if err != nil {
			continue
		}
		ready, waiting := 0.0, 0
		h.mu.Lock()
		if g := h.current; g != nil {
			ready = 1
			g.batcher.mu.Lock()
			waiting = g.batcher.images
			g.batcher.mu.Unlock()
		}
		h.mu.Unlock()
		c <- prometheus.MustNewConstMetric(q.wait, prometheus.GaugeValue, float64(waiting), name)
		c <- prometheus.MustNewConstMetric(q.ready, prometheus.GaugeValue, ready, name)
	}
}
