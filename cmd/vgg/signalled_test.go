//go:build unix

package main

import (
	"fmt"
	"net"
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

// A command that still has long to work, or waits for a server, ends at the first signal with
// exit code 130.
func TestSignalled(t *testing.T) {
	vggtest.SkipShort(t, "runs commands")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "w"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"net.safetensors", "w/net.safetensors"} {
		if err := tiny.Colours(3).Save(t.Context(), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	boxes, err := filepath.Abs(filepath.Join(vggtest.Fixture(t, "../../testdata/compat/v0"), "boxes", "last.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	// One file by many names: minutes of decoding.
	vggtest.WriteFiles(t, dir, map[string][]byte{"set/red/0.png": vggtest.PNG(2000, 2000, vggtest.Noise(1)), "set/blue/x.png": vggtest.PNG(40, 40, vggtest.Noise(2))})
	var pictures []string
	for i := range 1000 {
		name := fmt.Sprintf("set/%s/%d.png", []string{"red", "blue"}[i%2], i)
		if i > 0 {
			if err := os.Link(filepath.Join(dir, "set/red/0.png"), filepath.Join(dir, filepath.FromSlash(name))); err != nil {
				vggtest.Skip(t, "hard links")
			}
		}
		pictures = append(pictures, name)
	}
	// Descriptors of few pictures, on which SVMs are to be better than numbers can be.
	var table strings.Builder
	table.WriteString("file,x0,y0,x1,y1\n")
	for _, name := range pictures {
		fmt.Fprintf(&table, "%s,100,100,1500,1800\n", strings.TrimPrefix(name, "set/"))
	}
	files := map[string][]byte{"boxes.csv": []byte(table.String()), "plan.yaml": []byte("title: One\nlabels: [network]\nrows:\n  - labels: [net]\n    nets: [{weights: net, scales: [40]}]\n")}
	for i := range 12 {
		files[fmt.Sprintf("few/%s/%d.png", []string{"red", "blue"}[i%2], i)] = vggtest.PNG(40, 40, vggtest.Noise(uint64(i)))
	}
	vggtest.WriteFiles(t, dir, files)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), self, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), asProgram+"=1", "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
		return cmd
	}
	for _, args := range [][]string{
		{"features", "net.safetensors", "few", "--out", "few.npy"}, {"transfer", "train", "few.npy", "--out", "svm.safetensors", "--c", "1"},
	} {
		if text, err := command(args...).CombinedOutput(); err != nil {
			t.Fatalf("vgg %s: %v\n%s", strings.Join(args, " "), err, text)
		}
	}
	never := []string{"--c=1e9", "--tolerance=1e-300", "--passes=1000000000"}
	server, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, args := range [][]string{
		{"train", "--data", "set", "--out", "run", "--config=A", "--width=0.05", "--fc=8", "--input=32", "--scale-min=32", "--scale-max=36", "--test-scale=32"},
		{"stats", "set"},
		{"features", "net.safetensors", "set", "--out", "f.npy"},
		{"index", "net.safetensors", "set", "--out", "i.npy"},
		{"eval", "net.safetensors", "set"},
		{"classify", "net.safetensors", "set"},
		append([]string{"localize", "--class=red", boxes}, pictures...),
		{"localize", "eval", boxes, "--data", "set", "--annotations", "boxes.csv", "--protocol", "dense"},
		append([]string{"transfer", "train", "few.npy", "--out", "never.safetensors"}, never...),
		append([]string{"transfer", "eval", "few.npy", "--splits=2", "--train-images=4"}, never...),
		append([]string{"transfer", "predict", "svm.safetensors"}, pictures...),
		{"reproduce", "plan.yaml", "w", "--data", "set"},
		{"pull", "D"},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			cmd := command(args...)
			cmd.Env = append(cmd.Env, "VGG_MIRROR=http://"+server.Addr().String())
			var text strings.Builder
			cmd.Stdout, cmd.Stderr = &text, &text
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case err := <-ended:
				t.Fatalf("ended by itself: %v\n%s", err, text.String())
			case <-time.After(700 * time.Millisecond): // it is at work
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(time.Minute):
				_ = cmd.Process.Kill()
				<-ended
				t.Fatalf("did not hear the signal\n%s", text.String())
			}
			if code := cmd.ProcessState.ExitCode(); code != 130 {
				t.Errorf("exit code %d, want 130\n%s", code, text.String())
			}
		})
	}
}
