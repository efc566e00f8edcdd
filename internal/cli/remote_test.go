package cli_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/s3"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// run runs the command line and returns its exit code and all that it writes.
func run(ctx context.Context, args ...string) (code int, text string) {
	var out bytes.Buffer
	code = cli.Main(ctx, args, strings.NewReader(""), &out, &out, environment)
	return code, out.String()
}

// trainedOn trains with a set of images, and returns the weights, without the header that has
// the name of the set, and the output.
func trainedOn(t *testing.T, set string) ([]byte, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	args := append([]string{"train", "--data", set, "--out", dir, "--width=0.05", "--fc=8", "--seed=3"}, tinyRecipe...)
	args = append(args, "--epochs=2")
	code, text := run(t.Context(), args...)
	if code != 0 {
		t.Fatalf("%s: exit code %d\n%s", set, code, text)
	}
	data, err := os.ReadFile(filepath.Join(dir, "last.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return data[8+binary.LittleEndian.Uint64(data):], text
}

// Training on shards on a slow server or object store that fails now and then gives the bits of the files. The
// command that indexes shards makes what is needed for it.
func TestTrainingFromAServer(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	shards := filepath.Join(t.TempDir(), "shards")
	if code, text := run(t.Context(), "shard", trainFolder(t), "--out", shards, "--size=4KB"); code != 0 {
		t.Fatal(text)
	}
	want, _ := trainedOn(t, shards)
	indices, err := filepath.Glob(filepath.Join(shards, "*.index"))
	if err != nil || len(indices) < 2 {
		t.Fatal(indices, err)
	}
	before, err := os.ReadFile(indices[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range indices {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if code, text := run(t.Context(), "shard", shards, "--reindex"); code != 0 {
		t.Fatal(text)
	}
	if after, err := os.ReadFile(indices[0]); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the index made anew is %q, want %q (%v)", after, before, err)
	}
	for name, handler := range map[string]http.Handler{
		"http": http.FileServer(http.Dir(shards)), "s3": s3.Bucket(t, "photos", "set", shards),
	} {
		t.Run(name, func(t *testing.T) {
			faulty := &vggtest.Faulty{Handler: handler, Latency: 50 * time.Millisecond, Errors: 7, Resets: 11, Cuts: 5}
			server := httptest.NewUnstartedServer(faulty)
			server.Config.ErrorLog = log.New(io.Discard, "", 0) // of answers that are cut
			server.Start()
			defer server.Close()
			prefix := server.URL + "/"
			if name == "s3" {
				s3.Use(t, server.URL)
				prefix = "s3://photos/set/"
			}
			var names []string
			for _, f := range indices {
				names = append(names, prefix+strings.TrimSuffix(filepath.Base(f), ".index"))
			}
			got, text := trainedOn(t, strings.Join(names, "::"))
			if !bytes.Equal(got, want) {
				t.Error("other weights than from the files")
			}
			if !regexp.MustCompile(`waiting for images`).MatchString(text) {
				t.Errorf("no word of the waiting:\n%s", text)
			}
			if _, failed, _ := faulty.Requests(); failed == 0 {
				t.Error("no request failed")
			}
		})
	}
}

// A server that stays silent ends the command with the code for what may succeed later; an
// interruption ends it at once.
func TestServerThatDoesNotAnswer(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	asked := make(chan struct{}, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer s.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		cancel(errors.New("signal"))
	}()
	done := make(chan int, 1)
	go func() {
		code, _ := run(ctx, "stats", "--data", s.URL+"/shard-{0..3}.tar")
		done <- code
	}()
	select {
	case code := <-done:
		if code != 130 {
			t.Errorf("exit code %d, want 130", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the command goes on")
	}
}

// TestCommandsFromAServer: what reads sets of images reads them from a web server and from an
// object store, with the results of the same shards on disk.
func TestCommandsFromAServer(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Chdir(dir)
	files := map[string][]byte{"plan.yaml": []byte("title: One\nlabels: [network]\nrows:\n  - labels: [net]\n    nets: [{weights: net, scales: [40]}]\n")}
	var table strings.Builder
	table.WriteString("file,x0,y0,x1,y1\n")
	for i := range 15 {
		name := fmt.Sprintf("%s/%02d.png", []string{"a", "b", "c", "d", "e"}[i%5], i)
		files["set/"+name] = vggtest.PNG(48, 40, vggtest.Noise(uint64(i)))
		fmt.Fprintf(&table, "%s,%d,10,%d,35\n", name, i, 20+i)
	}
	files["boxes.csv"] = []byte(table.String())
	vggtest.WriteFiles(t, dir, files)
	for file, m := range map[string]*vgg.Model{"w/net.safetensors": tiny.Random(16, 1), "boxes.safetensors": tiny.Boxes(1)} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), m.Save(t.Context(), file)); err != nil {
			t.Fatal(err)
		}
	}
	if code, text := run(t.Context(), "shard", "set", "--out", "shards", "--size=12KB"); code != 0 {
		t.Fatal(text)
	}
	shards, err := filepath.Glob("shards/*.tar")
	if err != nil || len(shards) < 2 {
		t.Fatal(shards, err)
	}
	web := httptest.NewServer(&vggtest.Faulty{Handler: http.FileServer(http.Dir(".")), Errors: 7})
	defer web.Close()
	store := httptest.NewServer(s3.Bucket(t, "photos", "shards", "shards"))
	defer store.Close()
	s3.Use(t, store.URL)
	pattern := fmt.Sprintf("/shards/shard-{000000..%06d}.tar", len(shards)-1)
	// lines are those of a result in the images' order, without its header.
	lines := func(t *testing.T, file string) string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Split(string(data), "\n")[1:] // in the order in which images were done
		slices.Sort(all)
		return strings.Join(all, "\n")
	}
	whole := func(t *testing.T, file string) string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, c := range []struct {
		name string
		args []string
		out  string                                       // ending of the output; "": what is printed
		of   func(t *testing.T, fileOrText string) string // what must be the same
	}{
		{"eval", []string{"eval", "w/net.safetensors", "SET"}, ".jsonl", lines},
		{"features", []string{"features", "w/net.safetensors", "SET"}, ".npy", whole},
		{"index", []string{"index", "w/net.safetensors", "SET"}, ".npy", whole},
		{"localize eval", []string{"localize", "eval", "boxes.safetensors", "SET", "--annotations", "boxes.csv"}, ".jsonl", lines},
		{"stats", []string{"stats", "SET", "--json"}, "", line(`{"data"`)},
		{"reproduce", []string{"reproduce", "plan.yaml", "w", "SET"}, "", line("net  ")},
		{"teach", []string{"teach", "SET", "--net", "w/net.safetensors"}, ".safetensors", func(*testing.T, string) string { return "" }},
		{"compare", []string{"shard", "--compare", "SET"}, "", line("15 images in 15 shards")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want string
			for i, set := range []string{"shards", web.URL + pattern, "s3://photos" + pattern} {
				args := slices.Clone(c.args)
				args[slices.Index(args, "SET")] = set
				out := fmt.Sprintf("%s-%d%s", strings.ReplaceAll(c.name, " ", "-"), i, c.out)
				if c.out != "" {
					args = append(args, "--out", out)
				}
				code, text := run(t.Context(), args...)
				if code != 0 {
					t.Fatalf("%v: exit code %d\n%s", args, code, text)
				}
				if strings.Contains(text, "Boxes are not shown") { // there are none beside shards
					t.Errorf("%v:\n%s", args, text)
				}
				if c.out == "" {
					out = text
				}
				got := times.ReplaceAllString(strings.ReplaceAll(c.of(t, out), set, "shards"), "")
				if i == 0 {
					want = got
				} else if got != want {
					t.Errorf("%s: other results than from disk:\n%s\nwant\n%s", set, got, want)
				}
			}
		})
	}
	code, text := run(t.Context(), "index", "w/net.safetensors", web.URL+pattern, "--out", "index-1.npy", "--update")
	if code != 0 || !strings.Contains(text, "15 kept as they were, 0 described again, 0 new, 0 gone") {
		t.Errorf("an update of an index of a server's shards: %d, %s", code, text)
	}
	code, text = run(t.Context(), "index", "w/net.safetensors", web.URL+pattern, "set", "--out", "two.npy")
	if code != 2 || !strings.Contains(text, "one of 2 inputs, want shards or a ZIP file alone") {
		t.Errorf("an index of a server's shards and a folder: %d, %s", code, text)
	}
}

// line returns the line of a text that begins in a way.
func line(begin string) func(*testing.T, string) string {
	return func(t *testing.T, text string) string {
		for l := range strings.Lines(text) {
			if strings.HasPrefix(l, begin) {
				return l
			}
		}
		t.Fatalf("no line %q… in\n%s", begin, text)
		return ""
	}
}

// times are those in results.
var times = regexp.MustCompile(`"(\w*seconds\w*":[^,}]*|modified":"[^"]*")`)
