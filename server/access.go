package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// allowed tells whether a request may be answered, and sends the refusal if not.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request) bool {
	err := s.checkHost(r)
	if err == nil {
		err = s.checkKey(r)
	}
	if err != nil {
		s.fail(w, r, err)
		return false
	}
	return true
}

// checkHost refuses requests that a page of another site makes the browser send: one whose
// Host isn't the service's (the site's name was made to lead here), and one whose Origin is
// the other site.
func (s *Server) checkHost(r *http.Request) error {
	host := hostname(r.Host)
	if !s.ours(host) {
		return refuse(http.StatusForbidden, "host", "the service isn't called %q: name it by --host", abbreviated(host))
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" && r.Method != http.MethodGet && r.Method != http.MethodHead {
			return refuse(http.StatusForbidden, "origin", "a page of another site may not use the service")
		}
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return refuse(http.StatusForbidden, "origin", "a page of %q may not use the service", abbreviated(origin))
	}
	return nil
}

// hostname returns the host without its port.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// ours tells whether the service may be called by that name.
func (s *Server) ours(host string) bool {
	if strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback() {
		return true
	}
	for _, h := range s.options.Hosts {
		if h == "*" || strings.EqualFold(h, host) {
			return true
		}
	}
	return false
}

// checkKey compares the request's key with the service's, in a time that tells nothing.
func (s *Server) checkKey(r *http.Request) error {
	if s.options.Keys == nil || strings.HasPrefix(r.URL.Path, "/v2/health/") || s.static[r.URL.Path] {
		return nil // the page has nothing secret, and asks for the key
	}
	given := r.Header.Get("X-Api-Key")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		given = strings.TrimSpace(bearer)
	}
	if given == "" {
		return &failure{code: http.StatusUnauthorized, reason: "key", err: errors.New("no key: send one as Authorization: Bearer KEY")}
	}
	// Digests have one length, so that the comparison doesn't tell the key's.
	digest, found := sha256.Sum256([]byte(given)), 0
	for _, key := range s.options.Keys() {
		want := sha256.Sum256([]byte(key))
		found |= subtle.ConstantTimeCompare(digest[:], want[:])
	}
	if found == 0 {
		return &failure{code: http.StatusForbidden, reason: "key", err: errors.New("the key is unknown")}
	}
	return nil
}

// ParseKeys returns the keys of a file: one on each line, without empty lines and lines that
// begin with #. A key has at least 16 characters.
func ParseKeys(data []byte) ([]string, error) {
	var keys []string
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(line) < 16 {
			return nil, fmt.Errorf("server: line %d: a key of %d characters, want at least 16 that nobody guesses, as from openssl rand -hex 24", i+1, len(line))
		}
		keys = append(keys, line)
	}
	if keys == nil {
		return nil, errors.New("server: no key in the file, want one on each line")
	}
	return keys, nil
}
