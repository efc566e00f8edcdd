package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// throughput measures pictures a second at several numbers of clients.
func (s settings) throughput(ctx context.Context) error {
	var errs []error
	for _, n := range s.concurrency {
		t, took := s.closed(ctx, n, s.time, 0)
		errs = append(errs, t.one(), t.first, s.out.Encode(map[string]any{
			"clients": n, "codes": t.Codes, "images_per_second": float64(len(t.accepted)) / took.Seconds(), "p50_ms": t.quantile(0.5), "p99_ms": t.quantile(0.99),
		}))
	}
	return errors.Join(errs...)
}

// overload sends four times as many requests a second as the service can answer, whether or
// not it has answered those before.
func (s settings) overload(ctx context.Context) error {
	alone, _ := s.closed(ctx, 1, min(s.time, 10*time.Second), 0)
	busy, took := s.closed(ctx, 8, min(s.time, 10*time.Second), 0)
	capacity := float64(len(busy.accepted)) / took.Seconds()
	rate := s.rate
	if rate == 0 {
		rate = 4 * capacity
	}
	if rate <= 0 {
		return fmt.Errorf("no answer at all: %v, %v", alone.Codes, alone.first)
	}
	t := newTally()
	var wg sync.WaitGroup
	end := time.Now().Add(s.time)
	for next := time.Now(); next.Before(end) && ctx.Err() == nil; next = next.Add(time.Duration(float64(time.Second) / rate)) {
		time.Sleep(time.Until(next))
		wg.Go(func() {
			began := time.Now()
			code, body, err := s.send(ctx)
			t.add(code, body, err, time.Since(began))
		})
	}
	wg.Wait()
	errs := []error{t.one(), s.out.Encode(map[string]any{
		"capacity_per_second": capacity, "rate_per_second": rate, "codes": t.Codes, "alone_p50_ms": alone.quantile(0.5),
		"accepted_p50_ms": t.quantile(0.5), "accepted_p99_ms": t.quantile(0.99),
	})}
	for code, n := range t.Codes {
		if code != "200" && code != "429" {
			errs = append(errs, fmt.Errorf("%d answers of %s under overload (%v), want only 200 and 429", n, code, t.first))
		}
	}
	return errors.Join(errs...)
}

// slow keeps clients that send their picture byte by byte, and asks as a fast one beside them.
func (s settings) slow(ctx context.Context) error {
	before, _ := s.closed(ctx, 1, s.time/4, 0)
	u, err := url.Parse(s.address())
	if err != nil {
		return err
	}
	slow, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	connected := 0
	limit := make(chan struct{}, 256) // that connect at once
	for range s.clients {
		wg.Go(func() {
			limit <- struct{}{}
			c, err := net.DialTimeout("tcp", u.Host, time.Minute)
			<-limit
			if err != nil {
				return
			}
			defer c.Close()
			mu.Lock()
			connected++
			mu.Unlock()
			fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", u.Path, u.Host, len(s.data))
			for i := range s.data {
				select {
				case <-slow.Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
				if _, err := c.Write(s.data[i : i+1]); err != nil {
					return // it was told to make room
				}
			}
		})
	}
	select {
	case <-time.After(2 * time.Second): // the slow ones are in
	case <-ctx.Done():
	}
	during, _ := s.closed(ctx, 1, s.time, 0)
	stop()
	wg.Wait()
	errs := []error{before.one(), during.one(), s.out.Encode(map[string]any{
		"slow_clients": s.clients, "connected": connected, "codes": during.Codes, "before_p50_ms": before.quantile(0.5), "during_p50_ms": during.quantile(0.5), "during_p99_ms": during.quantile(0.99),
	})}
	for code, n := range during.Codes {
		if code != "200" {
			errs = append(errs, fmt.Errorf("%d answers of %s to the fast client (%v)", n, code, during.first))
		}
	}
	return errors.Join(errs...)
}

// gauges reads metrics of the process.
func (s settings) gauges(ctx context.Context) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	w, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer w.Body.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(w.Body)
	for lines.Scan() {
		for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "go_memstats_heap_inuse_bytes"} {
			if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
				if values[name], err = strconv.ParseFloat(text, 64); err != nil {
					return nil, err
				}
			}
		}
	}
	return values, lines.Err()
}

// many sends a great number of requests and compares memory and goroutines after a tenth of
// them with those after all.
func (s settings) many(ctx context.Context) error {
	first, _ := s.closed(ctx, 32, time.Hour, max(s.requests/10, 1))
	client.CloseIdleConnections()
	before, err := s.gauges(ctx)
	if err != nil {
		return err
	}
	rest, _ := s.closed(ctx, 32, time.Hour, max(s.requests-s.requests/10, 1))
	client.CloseIdleConnections()
	var after map[string]float64
	for range 20 { // the ends of connections are noticed a little later
		if after, err = s.gauges(ctx); err != nil {
			return err
		}
		if after["go_goroutines"] <= before["go_goroutines"]+10 {
			break
		}
		time.Sleep(250 * time.Millisecond)
	}
	errs := []error{first.one(), rest.one(), rest.first, s.out.Encode(map[string]any{"requests": s.requests, "codes": rest.Codes, "before": before, "after": after})}
	if after["go_goroutines"] > before["go_goroutines"]+10 {
		errs = append(errs, fmt.Errorf("%v goroutines after the requests, %v before", after["go_goroutines"], before["go_goroutines"]))
	}
	const grown = 64 << 20
	if after["process_resident_memory_bytes"] > before["process_resident_memory_bytes"]*1.2+grown {
		errs = append(errs, fmt.Errorf("%.0f MiB after the requests, %.0f MiB before", after["process_resident_memory_bytes"]/(1<<20), before["process_resident_memory_bytes"]/(1<<20)))
	}
	return errors.Join(errs...)
}

// reload replaces the file that is served, by the others in turn and by a broken one, under
// load. It puts the first of the others back in the end.
func (s settings) reload(ctx context.Context) error {
	if len(s.files) < 2 {
		return errors.New("want the served file, and one that takes its place")
	}
	served, good := s.files[0], s.files[1:]
	loading, stop := context.WithCancel(ctx)
	defer stop()
	t := newTally()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for loading.Err() == nil {
				began := time.Now()
				code, body, err := s.send(ctx)
				t.add(code, body, err, time.Since(began))
			}
		})
	}
	for i := range s.reloads {
		if err := replace(served, good[i%len(good)], i%10 == 3); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2500 * time.Millisecond): // files are looked at each second, and read when they rest
		}
	}
	stop()
	wg.Wait()
	errs := []error{replace(served, good[0], false), s.out.Encode(map[string]any{"reloads": s.reloads, "codes": t.Codes, "answers": len(t.answers), "p50_ms": t.quantile(0.5), "p99_ms": t.quantile(0.99)})}
	for code, n := range t.Codes {
		if code != "200" {
			errs = append(errs, fmt.Errorf("%d answers of %s (%v)", n, code, t.first))
		}
	}
	if len(t.answers) > len(good)+1 { // and what was served before
		errs = append(errs, fmt.Errorf("%d different answers, there are %d networks", len(t.answers), len(good)))
	}
	return errors.Join(errs...)
}

// replace puts a file, or half of it, in the place of another by renaming.
func replace(served, with string, broken bool) error {
	data, err := os.ReadFile(with)
	if err != nil {
		return err
	}
	if broken {
		data = data[:len(data)/2]
	}
	f, err := os.CreateTemp(filepath.Dir(served), ".load-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, strings.NewReader(string(data)))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), served)
}
