package server

import (
	"container/list"
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// answers keeps the latest answers, so that the same question about the same picture isn't
// computed again. It forgets the least recently used ones beyond its bound.
type answers struct {
	most int64 // bytes; at most 0: nothing is kept

	mu    sync.Mutex
	bytes int64
	order *list.List // of *answer, the latest first
	byKey map[answerKey]*list.Element
}

// answerKey identifies an answer: the weights as they were read, the question with all its
// parameters, and the picture.
type answerKey [sha256.Size]byte

// answer is scores or a descriptor, or else the body of a response of the media type kind.
type answer struct {
	key    answerKey
	scores []float32
	kind   string
	body   []byte
}

// cost is the memory of an answer, with the entry's own.
func (a *answer) cost() int64 { return int64(4*len(a.scores)+len(a.body)) + 200 }

func newAnswers(most int64) *answers {
	return &answers{most: most, order: list.New(), byKey: map[answerKey]*list.Element{}}
}

// keyOf returns the key of a question about a picture.
func keyOf(generation int64, question string, picture []byte) answerKey {
	h := sha256.New()
	fmt.Fprintf(h, "%d\x00%s\x00", generation, question)
	h.Write(picture)
	return answerKey(h.Sum(nil))
}

// get returns an answer that was put, or nil. It isn't to be changed.
func (a *answers) get(key answerKey) []float32 {
	if found := a.find(key); found != nil {
		return found.scores
	}
	return nil
}

// response returns a response that was put, or nil. It isn't to be changed.
func (a *answers) response(key answerKey) (kind string, body []byte) {
	if found := a.find(key); found != nil {
		return found.kind, found.body
	}
	return "", nil
}

func (a *answers) find(key answerKey) *answer {
	if a.most <= 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.byKey[key]
	if !ok {
		return nil
	}
	a.order.MoveToFront(e)
	return e.Value.(*answer)
}

// put keeps an answer.
func (a *answers) put(key answerKey, scores []float32) {
	a.keep(&answer{key: key, scores: scores})
}

// putResponse keeps a response, unless it would take the place of too many others.
func (a *answers) putResponse(key answerKey, kind string, body []byte) {
	if int64(len(body)) <= a.most/8 {
		a.keep(&answer{key: key, kind: kind, body: body})
	}
}

func (a *answers) keep(fresh *answer) {
	if a.most <= 0 || fresh.cost() > a.most {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.byKey[fresh.key]; ok {
		return
	}
	a.byKey[fresh.key] = a.order.PushFront(fresh)
	a.bytes += fresh.cost()
	for a.bytes > a.most {
		last := a.order.Back()
		old := a.order.Remove(last).(*answer)
		delete(a.byKey, old.key)
		a.bytes -= old.cost()
	}
}

// kept answers a request for a model with the response that compute makes, or with one that
// was kept: by the question and the picture, whose name stands in the response.
func (s *Server) kept(w http.ResponseWriter, h *hosted, generation int64, question string, p picture, compute func() (kind string, body []byte, err error)) (err error) {
	start := time.Now()
	defer func() { h.stats.count(start, err) }()
	key := keyOf(generation, fmt.Sprintf("%s\x00%s", question, p.name), p.data)
	if kind, body := s.answers.response(key); body != nil {
		s.metrics.answers.WithLabelValues(h.source.Name, "hit").Inc()
		h.stats.add("cache_hit", time.Since(start))
		writeBytes(w, kind, body)
		return nil
	}
	kind, body, err := compute()
	if err != nil {
		return err
	}
	s.metrics.answers.WithLabelValues(h.source.Name, "miss").Inc()
	h.stats.add("cache_miss", time.Since(start))
	s.answers.putResponse(key, kind, body)
	writeBytes(w, kind, body)
	return nil
}
