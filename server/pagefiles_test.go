package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// TestPageFiles: every file of the page is served without a key, by its type, and once only.
func TestPageFiles(t *testing.T) {
	s, h := serve(t, Options{Keys: func() []string { return []string{"a key that nobody guesses"} }}, tiny.Colours(10))
	for path := range s.static {
		code, body, header := ask(t, "GET", h.URL+path, nil)
		if code != 200 || len(body) == 0 || header.Get("Content-Security-Policy") != pagePolicy {
			t.Errorf("%s: code %d, %d bytes, %v", path, code, len(body), header)
		}
		if kind := header.Get("Content-Type"); strings.HasSuffix(path, ".js") && !strings.HasPrefix(kind, "text/javascript") {
			t.Errorf("%s is sent as %s", path, kind)
		}
		if code, body, _ := ask(t, "GET", h.URL+path, nil, "If-None-Match", header.Get("Etag")); code != http.StatusNotModified || len(body) > 0 {
			t.Errorf("%s again: code %d, %d bytes", path, code, len(body))
		}
		if strings.Contains(string(body), "https://") && !strings.HasPrefix(path, "/uplot/") {
			t.Errorf("%s names another host", path)
		}
	}
	for _, path := range []string{"/page.js/", "/../page.js", "/page/page.js", "/uplot/"} {
		if code, _, _ := ask(t, "GET", h.URL+path, nil); code == 200 {
			t.Errorf("%s is served", path)
		}
	}
}
