package cli_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// command runs a command and returns what it prints.
func command(t *testing.T, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := cli.Main(t.Context(), args, strings.NewReader(""), &stdout, &stderr, environment); code != 0 {
		t.Fatalf("vgg %q: exit code %d: %s", args, code, &stderr)
	}
	return stdout.Bytes()
}

// put sends a file as curl -T does, and returns the answer.
func put(t *testing.T, url, file string, header ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode != 200 {
		t.Fatalf("%s: code %d, %v: %s", url, w.StatusCode, err, body)
	}
	return body
}

// object decodes JSON, without the keys that name files.
func object(t *testing.T, data []byte, without ...string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	for _, key := range without {
		delete(m, key)
	}
	return m
}

// TestServeAnswers: what the service answers is what the commands print, to the digit.
func TestServeAnswers(t *testing.T) {
	dir := t.TempDir()
	weights := save(t, tiny.Random(16, 1), filepath.Join(dir, "tiny.safetensors"))
	boxes := save(t, tiny.Boxes(2), filepath.Join(dir, "boxes.safetensors"))
	photos := map[string][]byte{}
	for i, name := range []string{"a.png", "b.png", "sub/c.png", "sub/d.png"} {
		photos["photos/"+name] = vggtest.PNG(60+i, 50, vggtest.Noise(uint64(1+i/2)))
	}
	photos["photos/broken.png"] = []byte("no picture")
	vggtest.WriteFiles(t, dir, photos)
	picture := filepath.Join(dir, "photos", "a.png")
	index := filepath.Join(dir, "photos.npy")
	var stdout, stderr bytes.Buffer
	if code := cli.Main(t.Context(), []string{"index", weights, filepath.Join(dir, "photos"), "--out", index, "--json"}, strings.NewReader(""), &stdout, &stderr, environment); code != 3 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	s := startService(t, weights, "--localiser", boxes, "--index", index)

	for flags, query := range map[string]string{
		"":                                   "",
		"--layer conv3_2 --pool max":         "?layer=conv3_2&pool=max",
		"--scales 32,48 --average --no-flip": "?scales=32,48&average&flip=false",
		"--no-normalise --unrectified":       "?normalise=false&unrectified=1",
	} {
		out := filepath.Join(t.TempDir(), "x.jsonl")
		command(t, append([]string{"features", weights, picture, "--out", out}, strings.Fields(flags)...)...)
		line, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		got := object(t, put(t, s.address+"/v1/features/a.png"+query, picture), "file")
		if want := object(t, line, "file"); !reflect.DeepEqual(got, want) {
			t.Errorf("features %s: got %v, want %v", flags, got, want)
		}
		npy := filepath.Join(t.TempDir(), "x.npy")
		command(t, append([]string{"features", weights, picture, "--out", npy}, strings.Fields(flags)...)...)
		want, err := os.ReadFile(npy)
		if err != nil {
			t.Fatal(err)
		}
		if got := put(t, s.address+"/v1/features"+query, picture, "Accept", "application/x-npy"); !bytes.Equal(got, want) {
			t.Errorf("features %s: another array of %d bytes, want %d", flags, len(got), len(want))
		}
	}
	for flags, query := range map[string]string{
		"":                               "",
		"--top 2 --all-boxes":            "?top=2&all-boxes=true",
		"--class c --class a --unmerged": "?class=c&class=a&unmerged",
		"--merge-below 0.3 --all-boxes":  "?merge-below=0.3&all-boxes",
		"--merge-below 0 --class b":      "?merge-below=0&class=b",
	} {
		want := object(t, command(t, append([]string{"localize", boxes, picture, "--classifier", weights, "--json"}, strings.Fields(flags)...)...), "file")
		got := object(t, put(t, s.address+"/v1/localize/a.png"+query, picture), "file")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("localize %s: got %v, want %v", flags, got, want)
		}
	}
	drawn := filepath.Join(dir, "drawn.png")
	command(t, "localize", boxes, picture, "--classifier", weights, "--draw", drawn)
	want, err := os.ReadFile(drawn)
	if err != nil {
		t.Fatal(err)
	}
	if got := put(t, s.address+"/v1/localize", picture, "Accept", "image/png"); !bytes.Equal(got, want) {
		t.Error("localize: another picture than the command draws")
	}

	explained := object(t, command(t, "explain", weights, picture, "--scales", "40,64", "--json", "--out", filepath.Join(dir, "e.png")), "file", "out")
	if got := object(t, put(t, s.address+"/v1/explain?scales=40,64", picture), "file", "width", "height"); !reflect.DeepEqual(got, explained) {
		t.Errorf("explain: got %v, want %v", got, explained)
	}

	similar := object(t, command(t, "similar", index, picture, "--top", "3", "--json"), "file")
	got := object(t, put(t, s.address+"/v1/similar?top=3", picture), "file")
	for _, f := range got["found"].([]any) {
		found := f.(map[string]any)
		if name := found["file"].(string); filepath.IsAbs(name) || found["picture"] != true {
			t.Errorf("found %v, want a name from the index's folder on", found)
		}
		found["file"] = filepath.Join(dir, filepath.FromSlash(found["file"].(string)))
		delete(found, "index")
		delete(found, "picture")
	}
	if !reflect.DeepEqual(got, similar) {
		t.Errorf("similar: got %v, want %v", got, similar)
	}
	command(t, "serve", weights, "--localiser", boxes, "--index", index, "--plan")
}

// TestServeReadsAnew changes the localisation network and the index under the service.
func TestServeReadsAnew(t *testing.T) {
	dir := t.TempDir()
	weights := save(t, tiny.Random(16, 1), filepath.Join(dir, "tiny.safetensors"))
	boxes := save(t, tiny.Boxes(2), filepath.Join(dir, "boxes.safetensors"))
	picture := filepath.Join(dir, "photos", "a.png")
	vggtest.WriteFiles(t, dir, map[string][]byte{"photos/a.png": vggtest.PNG(60, 50, vggtest.Noise(1))})
	index := filepath.Join(dir, "photos.npy")
	command(t, "index", weights, filepath.Join(dir, "photos"), "--out", index)
	s := startService(t, weights, "--localiser", boxes, "--index", index)
	before := put(t, s.address+"/v1/localize", picture)
	save(t, tiny.Boxes(3), boxes)
	vggtest.WriteFiles(t, dir, map[string][]byte{"photos/b.png": vggtest.PNG(60, 50, vggtest.Noise(2))})
	command(t, "index", weights, filepath.Join(dir, "photos"), "--out", index, "--update")
	until(t, func() bool { return !bytes.Equal(before, put(t, s.address+"/v1/localize", picture)) })
	until(t, func() bool { return bytes.Count(put(t, s.address+"/v1/similar", picture), []byte("similarity")) == 2 })
}

// TestServeEnvironment: every flag can be given in the environment.
func TestServeEnvironment(t *testing.T) {
	path := save(t, tiny.Colours(10), filepath.Join(t.TempDir(), "colours.safetensors"))
	for name, value := range map[string]string{"VGG_PLAN": "true", "VGG_JSON": "true", "VGG_MAX_PIXELS": "1000", "VGG_QUEUE": "1", "VGG_MAX_IMAGES": "1", "VGG_FC_WEIGHTS": "f16", "VGG_CACHE": "1MiB"} {
		t.Setenv(name, value)
	}
	var p struct {
		Models []struct{ Name string } `json:"models"`
		Cache  int64                   `json:"cache_bytes"`
		Queues int64                   `json:"queues_bytes"`
	}
	if err := json.Unmarshal(command(t, "serve", path), &p); err != nil {
		t.Fatal(err)
	}
	if p.Cache != 1<<20 || p.Queues != 3*32*32*4 || len(p.Models) != 1 {
		t.Errorf("got %+v, want the plan of the environment", p)
	}
	// The other commands don't read it.
	if text := command(t, "summary", "A"); bytes.HasPrefix(text, []byte("{")) {
		t.Errorf("summary: got JSON: %s", text)
	}
}

// TestServeSchema sends what schemathesis makes of /openapi.json, and has it check the answers
// against it, if VGG_CLIENTS names a Python beside which it is.
func TestServeSchema(t *testing.T) {
	python := os.Getenv("VGG_CLIENTS")
	if python == "" {
		vggtest.Skip(t, "VGG_CLIENTS, a Python with schemathesis")
	}
	dir := t.TempDir()
	weights := save(t, tiny.Random(16, 1), filepath.Join(dir, "tiny.safetensors"))
	boxes := save(t, tiny.Boxes(2), filepath.Join(dir, "boxes.safetensors"))
	vggtest.WriteFiles(t, dir, map[string][]byte{"photos/a.png": vggtest.PNG(60, 50, vggtest.Noise(1)), "runs/x/recipe.yaml": nil})
	index := filepath.Join(dir, "photos.npy")
	command(t, "index", weights, filepath.Join(dir, "photos"), "--out", index)
	s := startService(t, weights, "--localiser", boxes, "--index", index, "--runs", filepath.Join(dir, "runs"), "--allow-load")
	// positive_data_acceptance wants every body of the schema to be taken: bytes that are no
	// picture are refused.
	out, err := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(python), "schemathesis"), "run", s.address+"/openapi.json",
		"--checks", "all", "--exclude-checks", "positive_data_acceptance", "--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1",
		"--exclude-path-regex", "unload$", "--no-color").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out[max(0, len(out)-600):])
}
