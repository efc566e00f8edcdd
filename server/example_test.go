package server_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/server"
)

// A program of one's own serves a model beside its own addresses.
func Example() {
	model := tiny.Colours(10) // or vgg.Open(ctx, "flowers.safetensors", vgg.OpenOptions{})
	service, err := server.New(server.Options{Hosts: []string{"photos.example"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	if err := service.AddModel(context.Background(), "colours", model); err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /about", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "Our photographs.") })
	mux.Handle("/", service)

	// http.ListenAndServe(":8080", mux) would serve it.
	var picture bytes.Buffer
	red := image.NewPaletted(image.Rect(0, 0, 40, 40), color.Palette{color.RGBA{255, 0, 0, 255}})
	if err := png.Encode(&picture, red); err != nil {
		fmt.Println(err)
		return
	}
	answer := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodPut, "http://photos.example/v1/classify/red.png?top=1", &picture)
	mux.ServeHTTP(answer, request)
	fmt.Println(answer.Code, answer.Body)
	// Output:
	// 200 {"file":"red.png","top":[{"class":"red","index":0,"probability":0.9999092}]}
}
