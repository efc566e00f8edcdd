package vggtest

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Faulty is a server's handler that is slow and fails: it waits before each answer, and every
// so many requests it answers 500, closes the connection, sends half of a body, or sends it in
// small pieces.
type Faulty struct {
	Handler http.Handler
	Latency time.Duration
	// Errors, Resets, Cuts and Slow are how many requests there are to one that fails in this
	// way; 0: none does.
	Errors, Resets, Cuts, Slow int

	mu       sync.Mutex
	requests int
	failed   int
	busy     int
	most     int // requests at one time
}

// Requests returns the number of requests, of those that failed, and the most at one time.
func (f *Faulty) Requests() (all, failed, together int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests, f.failed, f.most
}

// ServeHTTP implements [http.Handler].
func (f *Faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests++
	n := f.requests
	f.busy++
	f.most = max(f.most, f.busy)
	every := func(k int) bool { return k > 0 && n%k == 0 }
	fails := every(f.Errors) || every(f.Resets) || every(f.Cuts)
	if fails {
		f.failed++
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.busy--
		f.mu.Unlock()
	}()
	select {
	case <-time.After(f.Latency):
	case <-r.Context().Done():
		return
	}
	switch {
	case every(f.Errors):
		http.Error(w, "injected", http.StatusInternalServerError)
	case every(f.Resets):
		hangUp(w)
	case every(f.Cuts):
		f.Handler.ServeHTTP(&cutWriter{ResponseWriter: w}, r)
	case every(f.Slow):
		f.Handler.ServeHTTP(&slowWriter{w}, r)
	default:
		f.Handler.ServeHTTP(w, r)
	}
}

// hangUp closes the connection with a reset.
func hangUp(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// cutWriter sends half of the first piece of a body, and closes the connection.
type cutWriter struct{ http.ResponseWriter }

func (c *cutWriter) Write(p []byte) (int, error) {
	if _, err := c.ResponseWriter.Write(p[:len(p)/2]); err != nil {
		return 0, err
	}
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	hangUp(c.ResponseWriter)
	return 0, net.ErrClosed
}

// slowWriter sends a body in pieces.
type slowWriter struct{ http.ResponseWriter }

func (s *slowWriter) Write(p []byte) (int, error) {
	const pieces = 8
	sent := 0
	for i := range pieces {
		n, err := s.ResponseWriter.Write(p[len(p)*i/pieces : len(p)*(i+1)/pieces])
		if sent += n; err != nil {
			return sent, err
		}
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		time.Sleep(2 * time.Millisecond)
	}
	return sent, nil
}
