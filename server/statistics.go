package server

import (
	"slices"
	"sync"
	"time"
)

// statistics are those of a model, as the protocol's extension has them.
type statistics struct {
	mu         sync.Mutex
	last       time.Time
	inferences int64 // images
	executions int64 // passes
	sums       map[string]durationSum
	batches    map[int]*batchSum
}

// durationSum is a number of events and what they took together.
type durationSum struct {
	Count uint64 `json:"count"`
	NS    uint64 `json:"ns"`
}

func (s *durationSum) add(d time.Duration) {
	s.Count++
	s.NS += uint64(max(d, 0))
}

type batchSum struct {
	Size    int         `json:"batch_size"`
	Input   durationSum `json:"compute_input"`
	Compute durationSum `json:"compute_infer"`
	Output  durationSum `json:"compute_output"`
}

// statisticsKinds are the sums that every answer has.
var statisticsKinds = []string{"success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"}

// pass counts a pass through the network.
func (s *statistics) pass(p pass) {
	if p.err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batches == nil {
		s.batches = map[int]*batchSum{}
	}
	b := s.batches[p.images]
	if b == nil {
		b = &batchSum{Size: p.images}
		s.batches[p.images] = b
	}
	b.Input.add(p.gather)
	b.Compute.add(p.compute)
	b.Output.add(0)
	s.executions++
	s.inferences += int64(p.images)
	s.last = time.Now()
}

// add counts an event of a kind of statisticsKinds. Statistics that are nil keep nothing.
func (s *statistics) add(kind string, d time.Duration) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sums == nil {
		s.sums = map[string]durationSum{}
	}
	sum := s.sums[kind]
	sum.add(d)
	s.sums[kind] = sum
}

// count adds a request for images.
func (s *statistics) count(start time.Time, err error) {
	kind := "success"
	if err != nil {
		kind = "fail"
	}
	s.add(kind, time.Since(start))
}

// computed adds the times of a job.
func (s *statistics) computed(j *job) {
	s.add("queue", j.started.Sub(j.queued))
	s.add("compute_infer", j.ended.Sub(j.started))
}

// modelStatistics is the answer about a model.
type modelStatistics struct {
	Name       string                 `json:"name"`
	Version    string                 `json:"version"`
	Last       int64                  `json:"last_inference"` // milliseconds since 1970
	Inferences int64                  `json:"inference_count"`
	Executions int64                  `json:"execution_count"`
	Sums       map[string]durationSum `json:"inference_stats"`
	Batches    []batchSum             `json:"batch_stats"`
}

// of returns the statistics for an answer.
func (s *statistics) of(name, version string) modelStatistics {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := modelStatistics{Name: name, Version: version, Inferences: s.inferences, Executions: s.executions, Sums: map[string]durationSum{}, Batches: []batchSum{}}
	if !s.last.IsZero() {
		m.Last = s.last.UnixMilli()
	}
	for _, kind := range statisticsKinds {
		m.Sums[kind] = s.sums[kind]
	}
	for _, b := range s.batches {
		m.Batches = append(m.Batches, *b)
	}
	slices.SortFunc(m.Batches, func(a, b batchSum) int { return a.Size - b.Size })
	return m
}
