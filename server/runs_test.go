package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/train"
)

// run is a run directory that a test writes.
type run struct {
	t   *testing.T
	dir string
}

func newRunDir(t *testing.T, folder, name string) run {
	t.Helper()
	r := run{t, filepath.Join(folder, name)}
	if err := os.MkdirAll(r.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	recipe := train.SampleRecipe()
	recipe.Epochs, recipe.Batch = 4, 16
	if err := os.WriteFile(filepath.Join(r.dir, train.RecipeFile), recipe.YAML(), 0o666); err != nil {
		t.Fatal(err)
	}
	return r
}

// log writes lines behind those that there are.
func (r run) log(lines ...string) {
	r.t.Helper()
	f, err := os.OpenFile(filepath.Join(r.dir, train.MetricsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err == nil {
		_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	}
	if err != nil {
		r.t.Fatal(err)
	}
	f.Close()
}

func iteration(n int) string {
	return fmt.Sprintf(`{"kind":"iteration","epoch":%d,"iteration":%d,"loss":%g,"learning_rate":0.01,"images":16,"images_per_second":32}`, (n-1)/25+1, n, 1/float64(n))
}

const begun = `{"kind":"start","iterations":50,"epochs":2,"images":400,"validation":100,"classes":10,"batch":16}`

// asked returns the answer about a run.
func (r run) asked(url string) runLines {
	r.t.Helper()
	code, body, _ := ask(r.t, "GET", url, nil)
	var a runLines
	if err := json.Unmarshal(body, &a); code != 200 || err != nil {
		r.t.Fatalf("code %d, %v: %s", code, err, body)
	}
	return a
}

func TestRuns(t *testing.T) {
	folder := t.TempDir()
	r := newRunDir(t, folder, "flowers")
	_, h := serve(t, Options{Runs: folder}, tiny.Random(16, 1))
	url := h.URL + "/v1/runs/flowers"
	if a := r.asked(url); a.Total != 0 || a.State != "ended" || a.Progress.Loss != nil {
		t.Errorf("a run without metrics: %+v", a)
	}
	release, err := lockfile.Take(filepath.Join(r.dir, train.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	r.log(begun, `{"kind":"init","file":"/home/somebody/weights.pth"}`)
	for n := range 600 {
		r.log(iteration(n + 1))
	}
	a := r.asked(url + "?since=300")
	if a.State != "running" || a.Since != 300 || a.Next != 602 || a.Total != 602 || len(a.Lines) != 302 || !strings.Contains(string(a.Lines[0]), `"iteration":299,`) {
		t.Errorf("%+v and %d lines that begin with %s", a.runAnswer, len(a.Lines), a.Lines[0])
	}
	if p := a.Progress; p.Iteration != 600 || p.Epochs != 4 || p.Iterations != 100 || *p.LearningRate != 0.01 {
		t.Errorf("progress %+v, want iteration 600, and 100 iterations of the recipe's 4 epochs", p)
	}
	if first := r.asked(url).Lines[1]; string(first) != `{"kind":"init"}` {
		t.Errorf("the line %s tells of the machine", first)
	}

	// The run goes back to a checkpoint.
	if err := os.Truncate(filepath.Join(r.dir, train.MetricsFile), int64(len(begun)+1)); err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		r.log(iteration(n + 1))
	}
	r.log(`{"kind":"epoch","epoch":2,"best":true,"seconds":10}`)
	b := r.asked(fmt.Sprintf("%s?since=%d&generation=%d", url, a.Next, a.Generation))
	if b.Generation == a.Generation || b.Since != 0 || len(b.Lines) != 52 {
		t.Errorf("after the cut: generation %d, since %d, %d lines; want another one, from 0 on, with 52", b.Generation, b.Since, len(b.Lines))
	}
	if p := b.Progress; p.ETA == nil || *p.ETA != 20 || !strings.Contains(string(p.Best), `"epoch":2`) {
		t.Errorf("progress %+v: %s, want 20 s for 50 iterations of 25 in 10 s", p, p.Best)
	}

	// Somebody waits for the next line.
	told := make(chan runLines)
	go func() { told <- r.asked(fmt.Sprintf("%s?since=%d&generation=%d&wait=20", url, b.Next, b.Generation)) }()
	r.log(iteration(51))
	if c := <-told; len(c.Lines) != 1 || string(c.Lines[0]) != iteration(51) {
		t.Errorf("who waited hears %s", c.Lines)
	}

	// As events, to the end of the run.
	request, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Last-Event-ID", fmt.Sprintf("%d.53", b.Generation))
	w, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	events := bufio.NewScanner(w.Body)
	next := func() string {
		for events.Scan() {
			if data, ok := strings.CutPrefix(events.Text(), "data: "); ok {
				return data
			}
		}
		return ""
	}
	if first := next(); !strings.Contains(first, `"lines":[]`) {
		t.Errorf("the first event is %s, want no line again", first)
	}
	r.log(iteration(52))
	if second := next(); !strings.Contains(second, `"iteration":52,`) {
		t.Errorf("the second event is %s", second)
	}
	release()
	if last := next(); !strings.Contains(last, `"state":"ended"`) {
		t.Errorf("the last event is %s", last)
	}
	if more := next(); more != "" {
		t.Errorf("an event after the end: %s", more)
	}

	newRunDir(t, folder, "cats").log(begun)
	os.MkdirAll(filepath.Join(folder, "no run"), 0o777)
	code, body, _ := ask(t, "GET", h.URL+"/v1/runs", nil)
	var list struct{ Runs []runAnswer }
	if err := json.Unmarshal(body, &list); code != 200 || err != nil || len(list.Runs) != 2 || list.Runs[0].Name != "cats" {
		t.Errorf("code %d, %v: %s", code, err, body)
	}
	for _, name := range []string{"none", "..", "%2e%2e", "..%2fflowers", "no%20run", "%2e"} {
		if code, body, _ := ask(t, "GET", h.URL+"/v1/runs/"+name, nil); code != 404 && code != 307 && code != 200 || strings.Contains(string(body), "iteration\":5") {
			t.Errorf("%s: code %d: %s", name, code, body)
		}
	}
}

func TestNoRuns(t *testing.T) {
	folder := t.TempDir()
	newRunDir(t, folder, "a").log(begun)
	newRunDir(t, folder, "b").log(begun)
	_, one := serve(t, Options{Runs: folder, Run: "b"}, tiny.Random(16, 1))
	if code, body, _ := ask(t, "GET", one.URL+"/v1/runs/a", nil); code != 404 {
		t.Errorf("code %d: %s", code, body)
	}
	if _, body, _ := ask(t, "GET", one.URL+"/v1/runs", nil); strings.Contains(string(body), `"name":"a"`) || !strings.Contains(string(body), `"name":"b"`) {
		t.Errorf("got %s", body)
	}
	_, none := serve(t, Options{}, tiny.Random(16, 1))
	code, body, _ := ask(t, "GET", none.URL+"/v1/runs", nil)
	refused(t, code, body, 501, "--runs DIR")
}
