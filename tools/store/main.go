// Command store serves the files of a folder over HTTP with latency, to try training on shards
// that lie far away.
//
//	go run ./tools/store -latency 50ms shards
//
// It prints its address, and at the end the number of requests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("store: ")
	address := flag.String("addr", "127.0.0.1:8099", "address to listen on")
	latency := flag.Duration("latency", 50*time.Millisecond, "wait before each answer")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("want one folder")
	}
	if info, err := os.Stat(flag.Arg(0)); err != nil || !info.IsDir() {
		log.Fatalf("%s: no folder", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%v with %v\n", l.Addr(), *latency)
	requests, err := serve(ctx, l, http.FileServer(http.Dir(flag.Arg(0))), *latency)
	fmt.Printf("%d requests\n", requests)
	if err != nil {
		log.Fatal(err)
	}
}

// serve answers requests, each after a wait, until ctx is done, and returns their number.
func serve(ctx context.Context, l net.Listener, files http.Handler, latency time.Duration) (requests int64, err error) {
	var n atomic.Int64
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		time.Sleep(latency)
		files.ServeHTTP(w, r)
	})}
	go func() {
		<-ctx.Done()
		s.Close()
	}()
	if err = s.Serve(l); errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return n.Load(), err
}
