package server

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed page
var pageFiles embed.FS

// pagePolicy lets the page load what is the service's own, and nothing else. Pictures are
// fetched with the key and shown as blobs.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// routePage adds the page: every file of the folder, the index at /.
func (s *Server) routePage() {
	s.static = map[string]bool{}
	err := fs.WalkDir(pageFiles, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := pageFiles.ReadFile(name)
		if err != nil {
			return err
		}
		address := strings.TrimPrefix(name, "page")
		pattern := "GET " + address
		if address == "/index.html" {
			address, pattern = "/", "GET /{$}"
		}
		s.static[address] = true
		s.mux.HandleFunc(pattern, s.answering(pageFile(name, data)))
		return nil
	})
	if err != nil {
		panic("server: the page: " + err.Error()) // it is embedded
	}
}

// pageFile serves a file of the page. A browser that has it asks whether it is still the same.
func pageFile(name string, data []byte) func(http.ResponseWriter, *http.Request) error {
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) { // the machine's own table may know them otherwise
	case ".js":
		kind = "text/javascript; charset=utf-8"
	case "":
		kind = "text/plain; charset=utf-8"
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		h.Set("Etag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		return nil
	}
}
