package server

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

// routePage adds the page. All that it loads is the service's own.
func (s *Server) routePage() {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // the folder is embedded
	}
	serve := http.FileServerFS(files)
	handle := func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		serve.ServeHTTP(w, r)
		return nil
	}
	s.mux.HandleFunc("GET /{$}", s.answering(handle))
	for _, name := range []string{"page.css", "page.js", "icon.svg"} {
		s.mux.HandleFunc("GET /"+name, s.answering(handle))
	}
}
