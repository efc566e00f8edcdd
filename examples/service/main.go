// Command service classifies photographs over HTTP:
//
//	service vgg16.pth localhost:8080
//	curl --data-binary @photo.jpg http://localhost:8080/
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/verydeep/vgg"
)

const maxBytes = 16 << 20 // of a photograph

func main() {
	if len(os.Args) != 3 {
		log.Fatal("want two arguments: WEIGHTS ADDRESS")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	model, err := vgg.Open(ctx, os.Args[1], vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		// Any number of requests use one model at once.
		top, err := model.ClassifyReader(http.MaxBytesReader(w, r.Body, maxBytes), 5)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(top); err != nil {
			log.Print(err)
		}
	})
	listener, err := net.Listen("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s/", listener.Addr())
	server := &http.Server{ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute}
	context.AfterFunc(ctx, func() { server.Shutdown(context.Background()) })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
