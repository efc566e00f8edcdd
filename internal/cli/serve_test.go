package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// service is a running vgg serve.
type service struct {
	address string
	stop    func() int // ends it and returns its exit code
	stderr  *lockedBuffer
}

// lockedBuffer is a buffer that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startService runs vgg serve with the arguments and waits for its address.
func startService(t *testing.T, args ...string) *service {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	s := &service{stderr: &lockedBuffer{}}
	code := make(chan int, 1)
	go func() {
		c := cli.Main(ctx, append([]string{"serve", "--addr", "127.0.0.1:0", "--json"}, args...), strings.NewReader(""), w, s.stderr, func(string) string { return "" })
		w.CloseWithError(io.EOF)
		code <- c
	}()
	var once sync.Once
	ended := 0
	s.stop = func() int {
		once.Do(func() {
			cancel()
			ended = <-code
		})
		return ended
	}
	t.Cleanup(func() { s.stop(); http.DefaultClient.CloseIdleConnections() })
	line, err := bufio.NewReader(r).ReadString('\n')
	var started struct {
		Address string `json:"address"`
		Error   string `json:"error"`
	}
	if json.Unmarshal([]byte(line), &started) != nil || started.Address == "" {
		t.Fatalf("no address: %q, %v, %s", line, err, s.stderr)
	}
	s.address = started.Address
	return s
}

// save writes a model to a file.
func save(t *testing.T, m *vgg.Model, path string) string {
	t.Helper()
	if err := m.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// send sends a picture and returns the code and the names of the classes.
func send(t *testing.T, client *http.Client, url string, picture []byte, header ...string) (int, []string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	var answer vgg.Answer
	if err := json.NewDecoder(w.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range answer.Top {
		names = append(names, p.Class)
	}
	return w.StatusCode, names
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	path := save(t, tiny.Colours(10), filepath.Join(dir, "colours.safetensors"))
	s := startService(t, path)
	code, names := send(t, http.DefaultClient, s.address+"/v1/classify", vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red)))
	if code != 200 || len(names) == 0 || names[0] != "red" {
		t.Errorf("code %d, %v", code, names)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d after the end of the service: %s", code, s.stderr)
	}
	if !strings.Contains(s.stderr.String(), `"endpoint":"/v1/classify"`) {
		t.Errorf("no line about the request: %s", s.stderr)
	}
}

// TestServeAssumes: the service says what is taken for granted of a network and what is left out
// of a file, as the other commands do.
func TestServeAssumes(t *testing.T) {
	path := vggtest.Fixture(t, "../../testdata/tensorsalone/conv1_in_head.pth")
	s := startService(t, path, "--head", "GAP FC6 RELU FC", "--input", "64", "--preprocess", "unit")
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
	if said := s.stderr.String(); !strings.Contains(said, "conv1_in_head.pth: taken for granted, since tensors alone don't tell it: a ReLU behind every convolution") {
		t.Errorf("no word of what is taken for granted: %s", said)
	}
}

// TestServeReload replaces a file of weights, first by a broken one.
func TestServeReload(t *testing.T) {
	dir := t.TempDir()
	path := save(t, tiny.Colours(10), filepath.Join(dir, "m.safetensors"))
	s := startService(t, path)
	replace := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", data, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace([]byte("broken"))
	until(t, func() bool { return strings.Contains(s.stderr.String(), "weights not read") })
	if code, names := send(t, http.DefaultClient, s.address+"/v1/classify", vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red))); code != 200 || names[0] != "red" {
		t.Errorf("the old network doesn't answer: code %d, %v", code, names)
	}
	other := tiny.Colours(10)
	other.Classes = []string{"rot", "grün", "blau"}
	data, err := os.ReadFile(save(t, other, filepath.Join(dir, "other.safetensors")))
	if err != nil {
		t.Fatal(err)
	}
	replace(data)
	until(t, func() bool {
		_, names := send(t, http.DefaultClient, s.address+"/v1/classify", vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red)))
		return slices.Contains(names, "rot")
	})
}

// until waits until a condition holds.
func until(t *testing.T, condition func() bool) {
	t.Helper()
	for range 600 {
		if condition() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("waited for half a minute")
}

// TestServeFolder watches a folder, to which a model comes and from which one goes.
func TestServeFolder(t *testing.T) {
	dir := t.TempDir()
	save(t, tiny.Colours(10), filepath.Join(dir, "a.safetensors"))
	if err := os.WriteFile(filepath.Join(dir, "broken.pth"), []byte("no weights"), 0o666); err != nil {
		t.Fatal(err)
	}
	s := startService(t, dir)
	served := func() []string {
		r, err := http.Post(s.address+"/v2/repository/index", "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		var list []struct{ Name string }
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range list {
			names = append(names, m.Name)
		}
		return names
	}
	if got := served(); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("serves %v, want a", got)
	}
	save(t, tiny.Colours(10), filepath.Join(dir, "b.safetensors"))
	until(t, func() bool { return slices.Equal(served(), []string{"a", "b"}) })
	if err := os.Remove(filepath.Join(dir, "a.safetensors")); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return slices.Equal(served(), []string{"b"}) })
	if err := tiny.Colours(10).Export(t.Context(), filepath.Join(dir, "b.weights.h5"), vgg.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return slices.Equal(served(), []string{"b.safetensors", "b.weights.h5"}) })
}

// TestServeTLS asks over HTTPS with a key.
func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	path := save(t, tiny.Colours(10), filepath.Join(dir, "colours.safetensors"))
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"keys.txt": []byte("0123456789abcdef0123\n"),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startService(t, path, "--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"), "--api-key-file", filepath.Join(dir, "keys.txt"))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(files["cert.pem"])
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if !strings.HasPrefix(s.address, "https://") {
		t.Errorf("address %s, want https", s.address)
	}
	if code, _ := send(t, client, s.address+"/v1/classify", vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red))); code != 401 {
		t.Errorf("code %d without a key, want 401", code)
	}
	if code, names := send(t, client, s.address+"/v1/classify", vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red)), "Authorization", "Bearer 0123456789abcdef0123"); code != 200 || names[0] != "red" {
		t.Errorf("code %d, %v with the key", code, names)
	}
}

func TestServeUsage(t *testing.T) {
	dir := t.TempDir()
	path := save(t, tiny.Colours(10), filepath.Join(dir, "colours.safetensors"))
	for name, c := range map[string]struct {
		args []string
		code int
		text string
	}{
		"nothing":          {[]string{"--runs", filepath.Join(dir, "runs")}, 2, "vgg train"},
		"open address":     {[]string{path, "--addr", ":0"}, 2, "--api-key-file"},
		"bad address":      {[]string{path, "--addr", "8080"}, 2, "HOST:PORT"},
		"same name":        {[]string{path, path}, 2, "name one otherwise"},
		"no file":          {[]string{filepath.Join(dir, "none.pth")}, 1, "none.pth"},
		"half of TLS":      {[]string{path, "--tls-cert", "x"}, 2, "go together"},
		"no keys":          {[]string{path, "--api-key-file", filepath.Join(dir, "none")}, 1, "--api-key-file"},
		"queue":            {[]string{path, "--queue", "0"}, 2, "at least 1"},
		"foreign profiles": {[]string{path, "--admin-addr", ":0", "--addr", "127.0.0.1:0"}, 2, "this machine alone"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := cli.Main(t.Context(), append([]string{"serve"}, c.args...), strings.NewReader(""), &stdout, &stderr, func(string) string { return "" })
			if code != c.code || !strings.Contains(stderr.String(), c.text) {
				t.Errorf("exit code %d, %s; want %d and %q", code, stderr.String(), c.code, c.text)
			}
		})
	}
}

// TestServePlan prints the memory, whose parts add up.
func TestServePlan(t *testing.T) {
	path := save(t, tiny.Colours(10), filepath.Join(t.TempDir(), "colours.safetensors"))
	var stdout, stderr bytes.Buffer
	if code := cli.Main(t.Context(), []string{"serve", path, "--plan", "--json"}, strings.NewReader(""), &stdout, &stderr, func(string) string { return "" }); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	var p struct {
		Models []struct {
			Parameters int64 `json:"parameters_bytes"`
		} `json:"models"`
		Passes int64 `json:"passes_bytes"`
		Queues int64 `json:"queues_bytes"`
		Bodies int64 `json:"bodies_bytes"`
		Decode int64 `json:"decoding_bytes"`
		Cache  int64 `json:"cache_bytes"`
		Taught int64 `json:"taught_bytes"`
		Teach  int64 `json:"teaching_bytes"`
		Bytes  int64 `json:"bytes"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if want := 2*p.Models[0].Parameters + p.Passes + p.Queues + p.Bodies + p.Decode + p.Cache + p.Taught + p.Teach; p.Bytes != want || p.Models[0].Parameters == 0 || p.Taught == 0 || p.Teach == 0 {
		t.Errorf("%+v: %d bytes, want %d", p, p.Bytes, want)
	}
}

// TestServeClients asks the service by Triton's and KServe's own clients, if VGG_CLIENTS names
// a Python that has them: see tools/clients/oip.py.
func TestServeClients(t *testing.T) {
	python := os.Getenv("VGG_CLIENTS")
	if python == "" {
		vggtest.Skip(t, "VGG_CLIENTS, a Python with tritonclient and kserve")
	}
	dir := t.TempDir()
	path := save(t, tiny.Random(16, 1), filepath.Join(dir, "tiny.safetensors"))
	picture := filepath.Join(dir, "noise.png")
	if err := os.WriteFile(picture, vggtest.PNG(60, 50, vggtest.Noise(1)), 0o666); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := cli.Main(t.Context(), []string{"classify", path, picture, "--json"}, strings.NewReader(""), &stdout, &stderr, os.Getenv); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	classes := filepath.Join(dir, "classes.json")
	if err := os.WriteFile(classes, stdout.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	s := startService(t, path)
	for _, client := range []string{"triton", "kserve"} {
		out, err := exec.CommandContext(t.Context(), python, "../../tools/clients/oip.py", client, strings.TrimPrefix(s.address, "http://"), "tiny", picture, classes).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", client, err, out)
		}
		t.Logf("%s: %d questions answered alike", client, bytes.Count(out, []byte("ok ")))
	}
}
