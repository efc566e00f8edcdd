package server

import (
	"container/list"
	"io"
	"net/http"
	"sync"
	"time"
)

// senders are the requests whose bodies are still coming, the oldest first. Where there are as
// many requests as the limit allows, the one that has been sending the longest makes room for a
// new one: clients that send a byte now and then can't keep the others out.
type senders struct {
	mu   sync.Mutex
	list list.List // of *sender
}

// sender is a request whose body is coming.
type sender struct {
	since time.Time
	cut   bool
	stop  func() // ends the reading
}

// graceOfSenders is how long a body may take before its request has to make room.
const graceOfSenders = time.Second

// errSlow is the failure of a request that made room.
var errSlow = refuse(http.StatusRequestTimeout, "slow", "the body came too slowly while other requests waited")

// sentBody is a body that is among the senders from its first byte to its last.
type sentBody struct {
	io.ReadCloser
	senders *senders
	control *http.ResponseController
	at      *list.Element
	ended   bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	if b.at == nil && !b.ended {
		b.senders.begin(b)
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.senders.end(b) {
		return n, errSlow
	}
	return n, err
}

func (b *sentBody) Close() error {
	b.senders.end(b)
	return b.ReadCloser.Close()
}

func (s *senders) begin(b *sentBody) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.at = s.list.PushBack(&sender{since: time.Now(), stop: func() { _ = b.control.SetReadDeadline(time.Now()) }})
}

// end takes a body off the list, and reports whether it had to make room.
func (s *senders) end(b *sentBody) (cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.ended || b.at == nil {
		b.ended = true
		return false
	}
	b.ended, cut = true, b.at.Value.(*sender).cut
	if !cut {
		s.list.Remove(b.at)
	}
	return cut
}

// cut makes the oldest request whose body is coming end, and reports whether there was one that
// has had its time.
func (s *senders) cut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.list.Front()
	if first == nil {
		return false
	}
	one := first.Value.(*sender)
	if time.Since(one.since) < graceOfSenders {
		return false
	}
	s.list.Remove(first)
	one.cut = true
	one.stop()
	return true
}
