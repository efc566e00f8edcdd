package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// TestSlowClients fills the service with clients that send a byte now and then: a fast one is
// answered all the same, and the slow ones whose turn it is to make room hear why.
func TestSlowClients(t *testing.T) {
	const slow, requests = 60, 20
	s, h := serve(t, Options{Limits: Limits{Requests: requests}}, tiny.Random(16, 1))
	data := vggtest.PNG(60, 50, vggtest.Noise(2))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	answers := make(chan string, slow)
	for range slow {
		wg.Go(func() {
			c, err := net.Dial("tcp", h.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(data))
			go func() {
				for i := range data {
					select {
					case <-stop:
						c.Close()
						return
					case <-time.After(20 * time.Millisecond):
					}
					if _, err := c.Write(data[i : i+1]); err != nil {
						return
					}
				}
			}()
			answer, _ := io.ReadAll(c)
			answers <- string(answer)
		})
	}
	// As many as fit are in, and have had their time.
	waitFor(t, func() bool {
		s.senders.mu.Lock()
		defer s.senders.mu.Unlock()
		first := s.senders.list.Front()
		return s.senders.list.Len() == requests && first != nil && time.Since(first.Value.(*sender).since) > graceOfSenders
	})
	for range 5 {
		if code, body, _ := ask(t, "POST", h.URL+"/v1/classify", data); code != 200 {
			t.Errorf("the fast one: code %d: %s", code, body)
		}
	}
	close(stop)
	wg.Wait()
	close(answers)
	cut, refusals := 0, 0
	for a := range answers {
		if strings.Contains(a, "429 Too Many Requests") {
			refusals++
		}
		if strings.Contains(a, "408 Request Timeout") && strings.Contains(a, "too slowly") {
			cut++
		}
	}
	if refusals < slow-requests {
		t.Errorf("%d slow clients were refused at once, want those that there was no room for, %d", refusals, slow-requests)
	}
	if cut == 0 {
		t.Error("no slow client was told that it made room")
	}
	waitFor(t, func() bool {
		s.senders.mu.Lock()
		defer s.senders.mu.Unlock()
		return s.senders.list.Len() == 0
	})
}
