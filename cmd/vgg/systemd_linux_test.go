package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// TestSystemd starts vgg serve as systemd does: with a socket that is open already, and another
// on which it says when it is ready, reloads and stops.
func TestSystemd(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	weights := filepath.Join(dir, "tiny.safetensors")
	if err := tiny.Random(16, 1).Save(t.Context(), weights); err != nil {
		t.Fatal(err)
	}
	states, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer states.Close()
	wait := func(want string) {
		t.Helper()
		states.SetReadDeadline(time.Now().Add(time.Minute))
		buffer := make([]byte, 1000)
		n, err := states.Read(buffer)
		if err != nil || !strings.HasPrefix(string(buffer[:n]), want) {
			t.Fatalf("the service says %q, %v; want %q", buffer[:n], err, want)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	l.Close() // the file stays: connections wait in it

	// LISTEN_PID is the service's own number, which a shell knows before it becomes the service.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, self, "serve", weights, "--addr", "127.0.0.1:1")
	cmd.Env = append(os.Environ(), asProgram+"=1", "LISTEN_FDS=1", "NOTIFY_SOCKET="+states.LocalAddr().String())
	cmd.ExtraFiles = []*os.File{socket}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	picture := vggtest.PNG(60, 50, vggtest.Noise(1))
	ask := func() string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+l.Addr().String()+"/v1/classify", bytes.NewReader(picture))
		if err != nil {
			t.Fatal(err)
		}
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		body, err := io.ReadAll(w.Body)
		if err != nil || w.StatusCode != 200 {
			t.Fatalf("code %d, %v: %s", w.StatusCode, err, body)
		}
		return string(body)
	}
	first := ask() // the connection waits in the socket until the service takes it
	wait("READY=1")

	// The file is of another network, and SIGHUP says so at once.
	if err := tiny.Random(16, 2).Save(t.Context(), weights); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	wait("RELOADING=1")
	wait("READY=1")
	if second := ask(); second == first {
		t.Error("SIGHUP changed nothing")
	}
	// A broken file leaves the old network.
	second := ask()
	if err := os.WriteFile(weights, []byte("no weights"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	wait("RELOADING=1")
	wait("READY=1")
	if third := ask(); third != second {
		t.Error("a broken file changed the answer")
	}
	http.DefaultClient.CloseIdleConnections()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &stderr)
	}
	if !strings.Contains(stderr.String(), "weights not read") {
		t.Errorf("the broken file isn't in the log: %s", &stderr)
	}
}
