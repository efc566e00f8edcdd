package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// client keeps as many connections as there are clients.
var client = &http.Client{Transport: &http.Transport{MaxIdleConns: 0, MaxIdleConnsPerHost: 1024, DisableCompression: true}}

// address is where a picture is sent: the URL itself, or the service's classes.
func (s settings) address() string {
	if strings.Count(s.url, "/") > 2 {
		return s.url
	}
	return s.url + "/v1/classify"
}

// tensorBody is an inference request of an image of side × side pixels as a binary tensor, and
// the bytes of its JSON. All of its scores come back.
func tensorBody(side int) (header int, data []byte) {
	text := fmt.Sprintf(`{"inputs":[{"name":"input","shape":[1,3,%d,%[1]d],"datatype":"FP32","parameters":{"binary_data_size":%d}}],"outputs":[{"name":"scores","parameters":{"binary_data":true}}]}`, side, 4*3*side*side)
	data = []byte(text)
	for i := range 3 * side * side {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i%251)/251-0.5))
	}
	return len(text), data
}

// send sends the picture, or the tensor, and returns the code and the body of the answer.
func (s settings) send(ctx context.Context) (code int, body []byte, err error) {
	method := http.MethodPut
	if s.tensor > 0 {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, s.address(), bytes.NewReader(s.data))
	if err != nil {
		return 0, nil, err
	}
	if s.tensor > 0 {
		r.Header.Set("Inference-Header-Content-Length", strconv.Itoa(s.header))
	}
	w, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer w.Body.Close()
	body, err = io.ReadAll(w.Body)
	return w.StatusCode, body, err
}

// tally counts answers.
type tally struct {
	mu       sync.Mutex
	Codes    map[string]int `json:"codes"` // by code, or "error"
	accepted []time.Duration
	answers  map[string]int // bodies of code 200
	first    error
}

func newTally() *tally { return &tally{Codes: map[string]int{}, answers: map[string]int{}} }

func (t *tally) add(code int, body []byte, err error, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.Codes["error"]++
		if t.first == nil {
			t.first = err
		}
		return
	}
	t.Codes[strconv.Itoa(code)]++
	if code == http.StatusOK {
		t.accepted = append(t.accepted, took)
		t.answers[string(body)]++
	}
}

// quantile returns a quantile of the accepted requests' times, in milliseconds.
func (t *tally) quantile(q float64) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.accepted) == 0 {
		return 0
	}
	slices.Sort(t.accepted)
	at := t.accepted[min(int(q*float64(len(t.accepted))), len(t.accepted)-1)]
	return float64(at.Microseconds()) / 1000
}

// closed keeps n clients busy, each with one request at a time, until the time is over or they
// have sent most requests together, if that isn't 0.
func (s settings) closed(ctx context.Context, n int, length time.Duration, most int) (*tally, time.Duration) {
	t := newTally()
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	tickets := make(chan struct{}, max(most, 1))
	for range most {
		tickets <- struct{}{}
	}
	start := time.Now()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				if most > 0 {
					select {
					case <-tickets:
					default:
						return
					}
				}
				began := time.Now()
				code, body, err := s.send(context.WithoutCancel(ctx))
				t.add(code, body, err, time.Since(began))
			}
		})
	}
	wg.Wait()
	return t, time.Since(start)
}

// one reports more than one answer to the same picture.
func (t *tally) one() error {
	if len(t.answers) > 1 {
		return fmt.Errorf("%d different answers to one picture", len(t.answers))
	}
	return nil
}
