package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/releases"
	"github.com/verydeep/vgg/releases/pull"
)

// pullCommand is the argument by which this program runs as vgg pull does, with a release
// that the public ones are too large for.
const pullCommand = "pull-a-release"

// pullRelease downloads, checks and converts the release at an address: ADDRESS#SHA256.
func pullRelease(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments", len(args))
	}
	mirror, sum, _ := strings.Cut(args[0], "#")
	spec, err := preprocess.Preset("torchvision")
	if err != nil {
		return err
	}
	path, err := pull.Release(context.Background(), releases.Release{
		Name: "A", Source: "killtest", File: "net.safetensors", URL: "https://killtest.invalid/net.safetensors", SHA256: sum,
		Preprocess: spec, Licence: "none",
	}, pull.Options{Dir: args[1], Mirror: mirror})
	if err == nil {
		_, err = fmt.Println(path)
	}
	return err
}

// serve begins to serve the folder of inputs, slowly and with connections that break.
func (k *killTest) serve() (stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k.address = "http://" + listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := os.ReadFile(filepath.Join(k.dir, "in", filepath.Base(r.URL.Path)))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", `"1"`)
		most := int64(len(b)) + 1<<16
		if rand.IntN(2) == 0 {
			most = rand.Int64N(most) + 1<<12
		}
		http.ServeContent(&slowWriter{ResponseWriter: w, left: most, pause: 250 * time.Millisecond * (1 << 12) / time.Duration(len(b)+1)}, r, "", time.Time{}, bytes.NewReader(b))
	})}
	go func() { _ = server.Serve(listener) }()
	return func() { server.Close() }, nil
}

// slowWriter sends 4 KiB at a time and breaks the connection after some bytes.
type slowWriter struct {
	http.ResponseWriter
	left  int64
	pause time.Duration
}

func (w *slowWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), 1<<12)]
		if w.left -= int64(len(part)); w.left < 0 {
			panic(http.ErrAbortHandler)
		}
		m, err := w.ResponseWriter.Write(part)
		n += m
		if err != nil {
			return n, err
		}
		if f, ok := w.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		time.Sleep(w.pause)
		p = p[len(part):]
	}
	return n, nil
}
