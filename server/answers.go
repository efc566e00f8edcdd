package server

import (
	"container/list"
	"crypto/sha256"
	"fmt"
	"sync"
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

type answer struct {
	key    answerKey
	scores []float32
}

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
	return e.Value.(*answer).scores
}

// put keeps an answer.
func (a *answers) put(key answerKey, scores []float32) {
	cost := func(n int) int64 { return int64(4*n) + 200 } // with the entry's own memory
	if a.most <= 0 || cost(len(scores)) > a.most {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.byKey[key]; ok {
		return
	}
	a.byKey[key] = a.order.PushFront(&answer{key, scores})
	a.bytes += cost(len(scores))
	for a.bytes > a.most {
		last := a.order.Back()
		old := a.order.Remove(last).(*answer)
		delete(a.byKey, old.key)
		a.bytes -= cost(len(old.scores))
	}
}
