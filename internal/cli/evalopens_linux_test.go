package cli_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// opens counts how often files are opened until stop is called, by the kernel's word.
type opens struct {
	fd    int
	files map[int32]string
}

func watchOpens(t *testing.T, files ...string) *opens {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		t.Skipf("no inotify: %v", err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	o := &opens{fd, map[int32]string{}}
	for _, file := range files {
		// Equal events in a row count as one: that the file is closed comes between.
		w, err := syscall.InotifyAddWatch(fd, file, syscall.IN_OPEN|syscall.IN_CLOSE)
		if err != nil {
			t.Fatal(err)
		}
		o.files[int32(w)] = file
	}
	return o
}

// count returns the number of times that each file was opened.
func (o *opens) count(t *testing.T) map[string]int {
	t.Helper()
	counts := map[string]int{}
	buffer := make([]byte, 1<<16)
	for {
		n, err := syscall.Read(o.fd, buffer)
		if err == syscall.EAGAIN {
			return counts
		}
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < n; {
			watch := int32(binary.NativeEndian.Uint32(buffer[at:]))
			if mask := binary.NativeEndian.Uint32(buffer[at+4:]); mask&syscall.IN_OPEN != 0 {
				counts[o.files[watch]]++
			}
			at += syscall.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buffer[at+12:]))
		}
	}
}

// Of two networks each file is opened to identify it, to hash it if there is a result
// file, and to run it. Before many images both are measured, and the first stays in memory.
func TestEvaluationOpensOfWeights(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.safetensors"), filepath.Join(dir, "second.safetensors")
	for _, file := range []string{first, second} {
		if err := tiny.Colours(3).Save(t.Context(), file); err != nil {
			t.Fatal(err)
		}
	}
	for folder, n := range map[string]int{"few": 3, "many": 70} {
		folder = filepath.Join(dir, folder, "red")
		if err := os.MkdirAll(folder, 0o777); err != nil {
			t.Fatal(err)
		}
		for k := range n {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.png", k)), vggtest.PNG(32, 32, vggtest.Plain(vggtest.Red)), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name          string
		args          []string
		first, second int
	}{
		{"few images", []string{"--data", "few"}, 2, 2},
		{"result file", []string{"--data", "few", "--out", "r.jsonl"}, 3, 3},
		{"measured", []string{"--data", "many"}, 2, 3},
	} {
		watch := watchOpens(t, first, second)
		cmd := exec.Command(self, append([]string{"eval", first, "--with", second}, test.args...)...)
		cmd.Args[0] = "vgg" // by which TestMain knows the command
		cmd.Dir = dir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v: %s", test.name, err, &stderr)
		}
		if got := watch.count(t); got[first] != test.first || got[second] != test.second {
			t.Errorf("%s: opened %v times, want %d and %d", test.name, got, test.first, test.second)
		}
	}
}
