package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/train"
)

// runs are the training runs of a folder.
type runs struct {
	folder string
	only   string // the only run that is told of, if not empty

	mu   sync.Mutex
	logs map[string]*runLog // by name
}

// errNoRuns is the failure where no folder of runs is told of.
var errNoRuns = &failure{code: http.StatusNotImplemented, err: errors.New("no training runs are shown: start the service with --runs DIR")}

// mostRuns is the most runs that are listed, the latest ones.
const mostRuns = 200

// runAnswer describes a run.
type runAnswer struct {
	Name     string      `json:"name"`
	State    string      `json:"state"`   // running or ended
	Changed  time.Time   `json:"changed"` // when its metrics were written last
	Start    *runStart   `json:"start"`   // what it has to do; null of a run of an earlier version
	Progress runProgress `json:"progress"`
}

// runLines is the answer about a run, with lines of its metrics.
type runLines struct {
	runAnswer
	// Generation changes when lines that were sent are no longer true: the run went back to a
	// checkpoint. The lines of another generation are to be forgotten.
	Generation int               `json:"generation"`
	Since      int               `json:"since"` // number of the first line, from 0
	Next       int               `json:"next"`  // the next answer's since
	Total      int               `json:"total"` // lines that there are
	Lines      []json.RawMessage `json:"lines"`
}

// names lists the runs, the latest first.
func (r *runs) names() ([]string, error) {
	if r.folder == "" {
		return nil, errNoRuns
	}
	entries, err := os.ReadDir(r.folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	type run struct {
		name string
		at   time.Time
	}
	var list []run
	for _, e := range entries {
		if r.only != "" && e.Name() != r.only {
			continue
		}
		info, err := os.Stat(filepath.Join(r.folder, e.Name(), train.RecipeFile))
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		at := info.ModTime()
		if m, err := os.Stat(filepath.Join(r.folder, e.Name(), train.MetricsFile)); err == nil {
			at = m.ModTime()
		}
		list = append(list, run{e.Name(), at})
	}
	slices.SortStableFunc(list, func(a, b run) int { return b.at.Compare(a.at) })
	names := []string{}
	for _, run := range list[:min(len(list), mostRuns)] {
		names = append(names, run.name)
	}
	return names, nil
}

// log returns what follows a run.
func (r *runs) log(name string) (*runLog, error) {
	if r.folder == "" {
		return nil, errNoRuns
	}
	missing := &failure{code: http.StatusNotFound, err: fmt.Errorf("no run %q, /v1/runs lists them", abbreviated(name))}
	if name != filepath.Base(name) || strings.HasPrefix(name, ".") || strings.ContainsAny(name, `/\:`) || r.only != "" && name != r.only {
		return nil, missing
	}
	dir := filepath.Join(r.folder, name)
	if info, err := os.Stat(filepath.Join(dir, train.RecipeFile)); err != nil || !info.Mode().IsRegular() {
		return nil, missing
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.logs[name]
	if !ok {
		if len(r.logs) >= mostRuns { // they are read again when they are asked for
			clear(r.logs)
		}
		l = &runLog{dir: dir}
		r.logs[name] = l
	}
	return l, nil
}

// answer describes a run. The caller has the log's lock, and has updated it.
func (l *runLog) answer(name string) runAnswer {
	running := train.Held(l.dir) != nil
	a := runAnswer{Name: name, State: "ended", Changed: l.changed}
	if running {
		a.State = "running"
	}
	if l.start != (runStart{}) {
		start := l.start
		a.Start = &start
	}
	var recipe *train.Recipe
	if text, err := wholefile.Read(filepath.Join(l.dir, train.RecipeFile), wholefile.MaxText); err == nil {
		if r, err := train.ParseRecipe(text, train.PaperRecipe()); err == nil {
			recipe = &r
		}
	}
	a.Progress = l.progress(recipe, running)
	return a
}

// listRuns lists the training runs.
func (s *Server) listRuns(w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	names, err := s.runs.names()
	if err != nil {
		return err
	}
	list := []runAnswer{}
	for _, name := range names {
		l, err := s.runs.log(name)
		if err != nil {
			continue // it has just gone
		}
		l.mu.Lock()
		if l.update() == nil {
			list = append(list, l.answer(name))
		}
		l.mu.Unlock()
	}
	writeJSON(w, http.StatusOK, map[string]any{"runs": list})
	return nil
}

// runLook is how often a run is looked at for somebody who waits.
const runLook = 250 * time.Millisecond

// oneRun tells the metrics of a run from a line on. With wait it waits for a new line so many
// seconds; as text/event-stream it sends lines as they come.
func (s *Server) oneRun(w http.ResponseWriter, r *http.Request) error {
	query, err := queryOf(r, "since", "generation", "wait")
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	l, err := s.runs.log(name)
	if err != nil {
		return err
	}
	at, wait, err := s.runPlace(query)
	if err != nil {
		return err
	}
	form, err := formOf(r, url.Values{}, form{"events", []string{"text/event-stream"}})
	if err != nil {
		return err
	}
	if form == "events" {
		return s.streamRun(w, r, l, name, at)
	}
	until := time.Now().Add(wait)
	for {
		a, err := l.from(name, at)
		if err != nil {
			return err
		}
		if len(a.Lines) > 0 || a.Generation != at.generation && at.generation >= 0 || a.State == "ended" || !time.Now().Before(until) || s.draining.Load() {
			writeJSON(w, http.StatusOK, a)
			return nil
		}
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-time.After(runLook):
		}
	}
}

// runPlace is where an answer begins.
type runPlace struct {
	since      int
	generation int // negative: any
}

// runPlace returns the parameters of a request about a run. It never waits as long as a request
// may take.
func (s *Server) runPlace(query url.Values) (p runPlace, wait time.Duration, err error) {
	if p.since, err = integer(query, "since", 0, 0, math.MaxInt32); err != nil {
		return p, 0, err
	}
	if p.generation, err = integer(query, "generation", -1, 0, math.MaxInt32); err != nil {
		return p, 0, err
	}
	seconds, err := number(query, "wait", 0, 0, 3600)
	return p, min(time.Duration(seconds*float64(time.Second)), s.longestWait()), err
}

// longestWait is how long a request may wait for something to happen.
func (s *Server) longestWait() time.Duration { return s.options.Limits.Time * 4 / 5 }

// from returns the lines from a place on: all of them, if the place is of another generation.
func (l *runLog) from(name string, at runPlace) (runLines, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.update(); err != nil {
		return runLines{}, err
	}
	since := at.since
	if at.generation >= 0 && at.generation != l.generation || since > l.lines {
		since = 0
	}
	lines, err := l.read(since)
	if err != nil {
		return runLines{}, err
	}
	return runLines{l.answer(name), l.generation, since, since + len(lines), l.lines, lines}, nil
}

// streamRun sends answers as server-sent events until the run ends or the request's time does;
// a browser then asks again, from the last event's id on.
func (s *Server) streamRun(w http.ResponseWriter, r *http.Request, l *runLog, name string, at runPlace) error {
	if g, n, ok := strings.Cut(r.Header.Get("Last-Event-Id"), "."); ok {
		generation, err1 := strconv.Atoi(g)
		since, err2 := strconv.Atoi(n)
		if err1 == nil && err2 == nil && generation >= 0 && since >= 0 {
			at = runPlace{since, generation}
		}
	}
	a, err := l.from(name, at)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	end := time.After(s.longestWait())
	for first := true; ; first = false {
		if first || len(a.Lines) > 0 || a.Generation != at.generation || a.State == "ended" {
			data, err := json.Marshal(a)
			if err != nil {
				return nil // the answer has begun
			}
			if _, err := fmt.Fprintf(w, "id: %d.%d\nevent: %s\ndata: %s\n\n", a.Generation, a.Next, a.State, data); err != nil {
				return nil
			}
			if err := out.Flush(); err != nil {
				return nil
			}
			if a.State == "ended" && a.Next == a.Total {
				return nil
			}
		}
		at = runPlace{a.Next, a.Generation}
		if a.Next == a.Total {
			select {
			case <-r.Context().Done():
				return nil
			case <-end:
				return nil
			case <-time.After(runLook):
			}
		}
		if s.draining.Load() {
			return nil
		}
		if a, err = l.from(name, at); err != nil {
			return nil
		}
	}
}
