package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/fstest"
	"time"
)

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	const latency = 30 * time.Millisecond
	done := make(chan int64)
	go func() {
		n, err := serve(ctx, l, http.FileServerFS(fstest.MapFS{"a.tar": &fstest.MapFile{Data: []byte("0123456789")}}), latency)
		if err != nil {
			t.Error(err)
		}
		done <- n
	}()
	for range 2 {
		r, err := http.NewRequest("GET", "http://"+l.Addr().String()+"/a.tar", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Range", "bytes=2-4")
		began := time.Now()
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != "234" || time.Since(began) < latency {
			t.Errorf("%q in %v, %v", body, time.Since(began), err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if n := <-done; n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}
