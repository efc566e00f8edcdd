package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// pair returns a certificate of this machine with a serial number, and its key, as PEM.
func pair(t *testing.T, serial int64) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// TestServeReadsKeysAnew: keys and certificates that change are those of the next request, and
// a file that can't be read changes nothing.
func TestServeReadsKeysAnew(t *testing.T) {
	dir := t.TempDir()
	path := save(t, tiny.Colours(10), filepath.Join(dir, "colours.safetensors"))
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name+".new"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	certificate, key := pair(t, 1)
	write("cert.pem", certificate)
	write("key.pem", key)
	write("keys.txt", []byte("the first key of all\n"))
	s := startService(t, path, "--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"), "--api-key-file", filepath.Join(dir, "keys.txt"))

	var serial int64
	// Each request is a connection of its own, whose certificate is looked at, not trusted.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(c tls.ConnectionState) error {
		serial = c.PeerCertificates[0].SerialNumber.Int64()
		return nil
	}}}
	client := &http.Client{Transport: transport}
	code := func(key string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.address+"/v2", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", key)
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if c := code("the first key of all"); c != 200 || serial != 1 {
		t.Fatalf("code %d, certificate %d", c, serial)
	}
	write("keys.txt", []byte("a second key, later\n"))
	until(t, func() bool { return code("a second key, later") == 200 })
	if c := code("the first key of all"); c != 403 {
		t.Errorf("code %d for a key that was taken away, want 403", c)
	}
	write("keys.txt", []byte("short\n"))
	until(t, func() bool {
		code("a second key, later")
		return strings.Contains(s.stderr.String(), "what it held before stays")
	})
	if c := code("a second key, later"); c != 200 {
		t.Errorf("code %d after a file of keys that can't be read, want 200", c)
	}
	certificate, key = pair(t, 2)
	write("key.pem", key)
	write("cert.pem", certificate)
	until(t, func() bool { code(""); return serial == 2 })
}

// TestServeLatestRun: without arguments the network that vgg train left last is served. The log
// has the request's ids, and profiles are at an address of their own.
func TestServeLatestRun(t *testing.T) {
	runs := t.TempDir()
	for i, name := range []string{"new", "old"} {
		dir := filepath.Join(runs, name)
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		m := tiny.Colours(10)
		if name == "old" {
			m = tiny.Random(16, 1)
		}
		best := save(t, m, filepath.Join(dir, "best.safetensors"))
		when := time.Now().Add(-time.Duration(i) * time.Hour)
		if err := os.Chtimes(best, when, when); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	admin := l.Addr().String()
	l.Close()
	s := startService(t, "--runs", runs, "--admin-addr", admin)
	for address, want := range map[string]int{"http://" + admin: 200, s.address: 404} {
		answer, err := http.Get(address + "/debug/pprof/goroutine?debug=1")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("profiles at %s: code %d, want %d", address, answer.StatusCode, want)
		}
	}
	for header, value := range map[string]string{"Host": "rebound.example", "Sec-Fetch-Site": "cross-site"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+admin+"/debug/pprof/goroutine?debug=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if header == "Host" {
			r.Host = value
		} else {
			r.Header.Set(header, value)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("profiles for a page of another site, %s %s: code %d, want 403", header, value, answer.StatusCode)
		}
	}
	code, names := send(t, http.DefaultClient, s.address+"/v1/classify", vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red)),
		"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "X-Request-Id", "mine-7")
	if code != 200 || len(names) == 0 || names[0] != "red" {
		t.Errorf("code %d, %v, want the classes of the latest run", code, names)
	}
	s.stop()
	for _, want := range []string{`"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"`, `"request":"mine-7"`} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("the log lacks %s: %s", want, s.stderr)
		}
	}
}
