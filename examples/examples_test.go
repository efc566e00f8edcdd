// Package examples has programs to copy from. Each is a folder of its own, and short enough to
// read in a minute.
package examples

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

var update = flag.Bool("update", false, "write the other networks' programs by that of vgg16-bn")

// networks are the programs that differ in the network alone.
var networks = []struct{ folder, title, config, rate string }{
	{"vgg16-bn", "VGG-16 with batch normalisation", "D-BN", "0.03"},
	{"vgg16-lrn", "VGG-16 with local response normalisation", "D-LRN", "0.01"},
	{"vgg19-bn", "VGG-19 with batch normalisation", "E-BN", "0.03"},
	{"vgg19-lrn", "VGG-19 with local response normalisation", "E-LRN", "0.01"},
}

// Each program stands alone, for a reader; what they share is the same.
func TestNetworksAreOneProgram(t *testing.T) {
	first := networks[0]
	original := read(t, first.folder)
	for _, n := range networks[1:] {
		want := strings.NewReplacer(first.folder, n.folder, first.title, n.title, `"`+first.config+`"`, `"`+n.config+`"`, first.rate, n.rate).Replace(original)
		if *update {
			if err := os.MkdirAll(n.folder, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(n.folder, "main.go"), []byte(want), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, n.folder); got != want {
			t.Errorf("%s/main.go isn't %s/main.go with another network: run go test ./examples -update", n.folder, first.folder)
		}
	}
}

func TestProgramsAreShort(t *testing.T) {
	programs, err := filepath.Glob("*/main.go")
	if err != nil || len(programs) < len(networks) {
		t.Fatalf("programs %v, %v", programs, err)
	}
	for _, file := range programs {
		most := 64
		if strings.HasPrefix(file, "vgg1") {
			most = 59
		}
		if n := strings.Count(read(t, filepath.Dir(file)), "\n"); n > most {
			t.Errorf("%s has %d lines, want at most %d", file, n, most)
		}
	}
}

func read(t *testing.T, folder string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// start builds a program and returns a command that runs it in an empty folder.
func start(t *testing.T, folder string, args ...string) *exec.Cmd {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and trains")
	}
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "program.exe")
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./"+folder).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	c := exec.CommandContext(t.Context(), program, args...)
	c.Dir = dir
	return c
}

// Each network is built, listed, trained for an epoch, evaluated and used. Two of them have both
// depths and both normalisations.
func TestNetworks(t *testing.T) {
	for i, n := range networks {
		if !vggtest.All() && i%3 != 0 {
			continue
		}
		t.Run(n.folder, func(t *testing.T) {
			out, err := start(t, n.folder, "-epochs", "1").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			last := map[string]string{"D": "conv5_3", "E": "conv5_4"}[n.config[:1]]
			for _, want := range []string{"\nconv1_1 ", "\n" + last + " ", "epoch 1: top-1 error 0.", "evaluation: top-1 error 0.", "val/Leopards/image_"} {
				if !bytes.Contains(append([]byte("\n"), out...), []byte(want)) {
					t.Errorf("%q is missing in\n%s", want, out)
				}
			}
		})
	}
}

const (
	compat  = "../testdata/compat/v0/"
	weights = compat + "net.safetensors"
)

// absolute returns the path of a file for a program that runs elsewhere.
func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

func TestFinetune(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data") // a run keeps statistics beside its images
	if err := os.CopyFS(data, os.DirFS(compat+"data")); err != nil {
		t.Fatal(err)
	}
	c := start(t, "finetune", absolute(t, weights), data, "tuned")
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("epoch 10: top-1 error 0.")) || !bytes.Contains(out, []byte("best: epoch ")) {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "tuned", "best.safetensors")); err != nil {
		t.Error(err)
	}
}

func TestSearch(t *testing.T) {
	dir := t.TempDir()
	for _, class := range []string{"blue", "green", "red"} {
		picture, err := os.ReadFile(compat + "data/train/" + class + "/0.png")
		if err != nil {
			t.Fatal(err)
		}
		vggtest.WriteFiles(t, dir, map[string][]byte{class + ".png": picture, "notes.txt": []byte("no picture")})
	}
	out, err := start(t, "search", absolute(t, weights), dir, absolute(t, compat+"data/val/green/0.png")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "notes.txt") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) != 3 || !strings.HasSuffix(found[0], "green.png") || !bytes.Contains(out, []byte("notes.txt: ")) {
		t.Errorf("want three pictures, green.png first, and notes.txt named:\n%s", out)
	}
}

func TestService(t *testing.T) {
	c := start(t, "service", absolute(t, weights), "127.0.0.1:0")
	log, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer c.Process.Kill()
	line, err := bufio.NewReader(log).ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("%q, %v", line, err)
	}
	picture, err := os.ReadFile(compat + "data/val/green/0.png")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		body   []byte
		status int
		want   string
	}{
		{picture, http.StatusOK, `[{"class":"green","index":1,"probability":`},
		{[]byte("no picture"), http.StatusBadRequest, "want JPEG"},
		{picture[:len(picture)/2], http.StatusBadRequest, ""},
	} {
		answer, err := http.Post(address, "application/octet-stream", bytes.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != test.status || !bytes.Contains(text, []byte(test.want)) {
			t.Errorf("status %d, %q, %v; want %d and %q", answer.StatusCode, text, err, test.status, test.want)
		}
	}
}

// lines are a text, which notebooks have as a list.
type lines []string

// TestNotebooks: the notebooks have the networks of the programs, were run without an error, and
// show the curve and a photograph. tools/notebooks/make.py writes and runs them.
func TestNotebooks(t *testing.T) {
	for _, n := range networks {
		data, err := os.ReadFile(filepath.Join("notebooks", n.folder+".ipynb"))
		if err != nil {
			t.Fatal(err)
		}
		var notebook struct {
			Cells []struct {
				Source  lines
				Outputs []struct {
					Type string `json:"output_type"`
					Text lines
					Data map[string]any
				}
			}
		}
		if err := json.Unmarshal(data, &notebook); err != nil {
			t.Fatalf("%s: %v", n.folder, err)
		}
		source, text, pictures := "", "", 0
		for _, c := range notebook.Cells {
			source += strings.Join(c.Source, "") + "\n"
			for _, o := range c.Outputs {
				if o.Type == "error" {
					t.Errorf("%s: a cell ended with an error", n.folder)
				}
				text += strings.Join(o.Text, "")
				if o.Data["image/png"] != nil {
					pictures++
				}
			}
		}
		for line := range strings.Lines(read(t, n.folder)) {
			if strings.Contains(line, "r.Config") || strings.Contains(line, "r.Dropout") {
				if want := strings.NewReplacer("*epochs", "80", "*full", "full").Replace(strings.TrimSpace(line)); !strings.Contains(source, want) {
					t.Errorf("%s: the notebook hasn't %q", n.folder, want)
				}
			}
		}
		if pictures != 2 || !strings.Contains(text, "best epoch") || !strings.Contains(text, "top-1 error") {
			t.Errorf("%s: %d pictures and the text %q, want the curve, the photograph and the errors", n.folder, pictures, text)
		}
		if strings.Contains(string(data), "/home/") || strings.Contains(string(data), "/tmp/") {
			t.Errorf("%s: a path of the machine that ran it", n.folder)
		}
	}
}
