package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/teach"
)

// teachAddress is that of requests that teach.
const teachAddress = "/v1/teach"

const (
	// MostTaught is the most models that are kept that requests have made; a further one takes
	// the place of the oldest.
	MostTaught      = 4
	mostTaughtNames = 100 // ever used, each of which has its own metrics
)

// taught are the models that requests have made. They are in memory alone.
type taught struct {
	turn chan struct{} // one is made at a time

	mu     sync.Mutex
	models map[string]*vgg.Model
	order  []string // the oldest first
	used   map[string]bool
}

func newTaught() *taught {
	return &taught{turn: make(chan struct{}, 1), models: map[string]*vgg.Model{}, used: map[string]bool{}}
}

// teachAnswer is the answer about a model that was made. The report's keys are those of
// `vgg teach --json`.
type teachAnswer struct {
	Model  string       `json:"model"`
	Report teach.Report `json:"report"`
}

// taughtName matches the names that a request may give its model.
var taughtName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$`)

// errNoTeaching is the failure where no models are made.
var errNoTeaching = refuse(http.StatusForbidden, "teach", "this service isn't taught by requests: start it with --allow-teach")

// teach makes a model of the convolutions of another one and of pictures of classes, the files
// of a form whose fields are the classes' names. Then it is served like any other.
func (s *Server) teach(w http.ResponseWriter, r *http.Request) error {
	if !s.options.AllowTeach {
		discard(r)
		return errNoTeaching
	}
	query, err := queryOf(r, "model", "name")
	if err != nil {
		return err
	}
	name := "taught"
	if query.Has("name") {
		name = query.Get("name")
	}
	if !taughtName.MatchString(name) {
		return badRequest("parameter name of %q, want 1 to 40 letters, digits, points, dashes and underlines, a letter or digit first", abbreviated(name))
	}
	_, g, release, err := s.find(r, query.Get("model"), "")
	if err != nil {
		return err
	}
	defer release()
	select {
	case s.taught.turn <- struct{}{}:
		defer func() { <-s.taught.turn }()
	default:
		discard(r)
		return refuse(http.StatusTooManyRequests, "teach", "somebody else teaches at the moment: ask again later")
	}
	if err := s.mayTeach(name); err != nil {
		return err
	}
	// The server's bounds of reading and writing are for requests of seconds.
	connection, until := http.NewResponseController(w), time.Now().Add(s.options.Limits.TeachTime+time.Minute)
	_ = connection.SetReadDeadline(until) // a recorder of tests has no connection
	_ = connection.SetWriteDeadline(until)
	classes, free, err := s.lessons(r)
	if err != nil {
		return err
	}
	defer free()
	images, err := teach.Pictures(name, classes)
	if err != nil {
		return badRequest("%w", err)
	}
	o := teach.DefaultOptions()
	o.Resources = resources.Resources{MaxPixels: s.options.Limits.Pixels, Memory: g.model.Net.Chain().ParamBytes() + s.options.Limits.TeachMemory}
	lines := newLines(w, r)
	if lines != nil {
		o.OnStage = func(what string) { lines.send(map[string]any{"stage": what}) }
		o.OnImage = func(done, total int64) { lines.send(map[string]any{"done": done, "of": total}) }
	}
	result, err := teach.Teach(r.Context(), teach.Net(about(r).model, g.model), images, o)
	if err == nil {
		err = s.serveTaught(r.Context(), name, result.Model)
	} else if r.Context().Err() != nil {
		err = context.Cause(r.Context())
	} else if _, ok := errors.AsType[*failure](err); !ok {
		err = badRequest("%w", err)
	}
	switch {
	case lines == nil && err != nil:
		return err
	case lines == nil:
		writeJSON(w, http.StatusOK, teachAnswer{name, result.Report})
	case err != nil:
		f := s.failureOf(r.Context(), err)
		about(r).code = f.code
		lines.send(map[string]string{"error": f.Error()})
	default:
		lines.send(teachAnswer{name, result.Report})
	}
	return nil
}

// lessons reads the pictures of a form, class by class in the order in which they come.
func (s *Server) lessons(r *http.Request) (classes []teach.Class, free func(), err error) {
	limits := s.options.Limits
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != formKind || parameters["boundary"] == "" {
		discard(r)
		return nil, nil, badRequest("want a form whose fields are the classes: curl -F cat=@1.jpg -F cat=@2.jpg -F dog=@3.jpg -F dog=@4.jpg …/v1/teach")
	}
	data, body, err := s.bodyUpTo(r, limits.TeachBody)
	if err != nil {
		return nil, nil, err
	}
	copies, err := s.hold(copiesOf(kind, len(data)))
	if err != nil {
		body()
		return nil, nil, err
	}
	release := func() { copies(); body() }
	defer func() {
		if err != nil {
			release()
		}
	}()
	places, names, count := map[string]int{}, map[string]bool{}, 0
	form := newFiles(data, parameters["boundary"])
	for {
		part, err := form.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		class := strings.TrimSpace(part.FormName())
		if part.FileName() == "" || class == "" {
			continue // a field of text
		}
		if count++; count > limits.TeachImages {
			return nil, nil, refuse(http.StatusRequestEntityTooLarge, "images", "more than %d pictures to teach with", limits.TeachImages)
		}
		content, err := form.read(part)
		if err != nil {
			return nil, nil, err
		}
		if h, err := preprocess.ReadHeader(content); err == nil && int64(h.W)*int64(h.H) > int64(limits.Pixels) {
			return nil, nil, refuse(http.StatusRequestEntityTooLarge, "pixels", "%s has %d×%d pixels, the most is %d pixels", abbreviated(part.FileName()), h.W, h.H, limits.Pixels)
		}
		place, ok := places[class]
		if !ok {
			place = len(classes)
			places[class] = place
			classes = append(classes, teach.Class{Name: class})
		}
		file := path.Base(strings.ReplaceAll(part.FileName(), `\`, "/"))
		if full := fmt.Sprintf("%d/%s", place, file); !fs.ValidPath(full) || names[full] {
			file = "" // its number in the class
		} else {
			names[full] = true
		}
		classes[place].Pictures = append(classes[place].Pictures, dataset.Picture{Name: file, Encoded: content})
	}
	return classes, release, nil
}

// mayTeach reports a name that a new model can't have.
func (s *Server) mayTeach(name string) error {
	s.taught.mu.Lock()
	defer s.taught.mu.Unlock()
	switch {
	case s.taught.models[name] != nil:
		return nil // is taught anew
	case !s.taught.used[name] && len(s.taught.used) == mostTaughtNames:
		return refuse(http.StatusConflict, "teach", "the service has been taught %d models: take one of their names, or start it anew", mostTaughtNames)
	}
	if _, err := s.models.find(name); err == nil {
		return &failure{code: http.StatusConflict, err: fmt.Errorf("a model that the service was started with is called %s: choose another name", name)}
	}
	return nil
}

// serveTaught serves a model in the place of an earlier one of its name, or else adds it.
func (s *Server) serveTaught(ctx context.Context, name string, m *vgg.Model) error {
	t := s.taught
	t.mu.Lock()
	again := t.models[name] != nil
	oldest := ""
	if !again {
		t.order = append(t.order, name)
		if len(t.order) > MostTaught {
			oldest, t.order = t.order[0], t.order[1:]
			delete(t.models, oldest)
		}
	}
	t.models[name], t.used[name] = m, true
	t.mu.Unlock()
	if oldest != "" {
		_ = s.Remove(oldest) // it may be gone already
	}
	if again {
		if err := s.Reload(ctx, name); !errors.Is(err, errUnknownModel) {
			return err
		}
	}
	return s.Add(ctx, Source{Name: name, taught: true, Open: func(context.Context) (*vgg.Model, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.models[name] == nil {
			return nil, fmt.Errorf("server: model %s has been forgotten", name)
		}
		return t.models[name], nil
	}})
}

// taughtFile sends the weights of a model that was taught, as a file.
func (s *Server) taughtFile(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("model")
	s.taught.mu.Lock()
	m := s.taught.models[name]
	s.taught.mu.Unlock()
	if m == nil {
		return &failure{code: http.StatusNotFound, err: fmt.Errorf("%w: none that is called %q has been taught here", errUnknownModel, abbreviated(name))}
	}
	_, _, release, err := s.find(r, name, "") // its parameters stay until the file is written
	if err != nil {
		return err
	}
	defer release()
	dir, err := os.MkdirTemp("", "vgg-taught-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "model.safetensors")
	if err := m.Save(r.Context(), file); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name+".safetensors"))
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}

// lines is an answer of JSON lines, which are sent as they come.
type lines struct {
	w       io.Writer
	flusher *http.ResponseController
}

// newLines begins such an answer if the request asks for one, and else returns nil.
func newLines(w http.ResponseWriter, r *http.Request) *lines {
	const kind = "application/x-ndjson"
	if !strings.Contains(r.Header.Get("Accept"), kind) {
		return nil
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return &lines{w, http.NewResponseController(w)}
}

// send sends a line; a client that has gone hears nothing.
func (l *lines) send(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		data = []byte(`{"error":"internal error: the answer has no JSON"}`)
	}
	_, _ = l.w.Write(append(data, '\n'))
	_ = l.flusher.Flush()
}
