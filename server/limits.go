package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/verydeep/vgg"
)

// Limits bound what a request may ask for. A value of 0 stands for that of DefaultLimits.
// Every refusal names its limit.
type Limits struct {
	// Body is the most bytes of a request's body, as they are sent and after its compression.
	Body int64
	// Bodies is the most bytes of the bodies of all requests at once.
	Bodies int64
	// Pixels is the most pixels of a picture. Its header tells, so that a larger one is
	// refused before it is decoded.
	Pixels int
	// Images is the most images of one request.
	Images int
	// Queue is the most images that wait for one model. More are refused with code 429.
	Queue int
	// Pass is the most bytes of one pass through a network, beside its parameters.
	Pass int64
	// Decoding is the most bytes of the pictures that are decoded at once; more wait.
	Decoding int64
	// Requests is the most requests at once. More are refused with code 429.
	Requests int
	// Time is the most that a request takes, its way over the network included.
	Time time.Duration
	// TeachImages, TeachBody, TeachMemory and TeachTime bound a request that teaches: its
	// pictures, the bytes of its body, the bytes that it takes beside them and the parameters,
	// and its time.
	TeachImages int
	TeachBody   int64
	TeachMemory int64
	TeachTime   time.Duration
	// Answers is the most bytes of answers that are kept to be given again; negative: none.
	Answers int64
}

// DefaultLimits returns limits that a public service can live with.
func DefaultLimits() Limits {
	return Limits{
		Body:     32 << 20,
		Bodies:   512 << 20,
		Pixels:   50_000_000,
		Images:   32,
		Queue:    64,
		Pass:     2 << 30,
		Decoding: 1 << 30,
		Requests: 4096,
		Time:     30 * time.Second,
		Answers:  32 << 20,

		TeachImages: 1000,
		TeachBody:   128 << 20,
		TeachMemory: 1 << 30,
		TeachTime:   10 * time.Minute,
	}
}

// withDefaults returns l with the default for each value that is 0.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, v := range []struct{ value, def *int64 }{
		{&l.Body, &d.Body}, {&l.Bodies, &d.Bodies}, {&l.Pass, &d.Pass}, {&l.Decoding, &d.Decoding}, {&l.Answers, &d.Answers}, {&l.TeachBody, &d.TeachBody}, {&l.TeachMemory, &d.TeachMemory},
	} {
		if *v.value == 0 {
			*v.value = *v.def
		}
	}
	for _, v := range []struct{ value, def *int }{
		{&l.Pixels, &d.Pixels}, {&l.Images, &d.Images}, {&l.Queue, &d.Queue}, {&l.Requests, &d.Requests}, {&l.TeachImages, &d.TeachImages},
	} {
		if *v.value == 0 {
			*v.value = *v.def
		}
	}
	if l.Time == 0 {
		l.Time = d.Time
	}
	if l.TeachTime == 0 {
		l.TeachTime = d.TeachTime
	}
	return l
}

// Validate reports the first limit that no service can have.
func (l Limits) Validate() error {
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"Body", l.Body}, {"Bodies", l.Bodies}, {"Pixels", int64(l.Pixels)}, {"Images", int64(l.Images)}, {"Queue", int64(l.Queue)},
		{"Pass", l.Pass}, {"Decoding", l.Decoding}, {"Requests", int64(l.Requests)}, {"Time", int64(l.Time)},
		{"TeachImages", int64(l.TeachImages)}, {"TeachBody", l.TeachBody}, {"TeachMemory", l.TeachMemory}, {"TeachTime", int64(l.TeachTime)},
	} {
		if v.value < 0 {
			return fmt.Errorf("server: limit %s of %d, want at least 1", v.name, v.value)
		}
	}
	return nil
}

// failure is an answer that isn't what was asked for: a code of HTTP, and why.
type failure struct {
	code   int
	reason string // of a refusal by a limit: the limit's name in metrics
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// badRequest is the failure of a request that can't be understood.
func badRequest(format string, args ...any) error {
	return &failure{code: http.StatusBadRequest, err: fmt.Errorf(format, args...)}
}

// refuse is the failure of a request beyond the limit of the name.
func refuse(code int, reason, format string, args ...any) error {
	return &failure{code: code, reason: reason, err: fmt.Errorf(format, args...)}
}

var (
	// errStopping is the failure of what comes while the service drains.
	errStopping = refuse(http.StatusServiceUnavailable, "stopping", "the service is stopping: ask again later, or another instance")
	// errNotFinite is the failure of a network that gives no finite scores.
	errNotFinite = refuse(http.StatusInternalServerError, "not finite", "%w for this input", vgg.ErrNotFinite)
	// errUnknownModel is the error of a name that no model has.
	errUnknownModel = errors.New("no such model")
)

// notFinite returns the error of scores that aren't finite as the service's own.
func notFinite(err error) error {
	if errors.Is(err, vgg.ErrNotFinite) {
		return errNotFinite
	}
	return err
}

// asFailure returns any error of a request as a failure. Errors that aren't the caller's are
// internal: their text stays in the log.
func asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return &failure{f.code, f.reason, err}
	}
	return &failure{code: http.StatusInternalServerError, err: errors.New("internal error: the log of the service has it under the request's id")}
}

// write sends the failure as the body {"error": …}.
func (f *failure) write(w http.ResponseWriter) {
	switch f.code {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, f.code, map[string]string{"error": f.Error()})
}

// writeJSON sends a value as JSON.
func writeJSON(w http.ResponseWriter, code int, v any) {
	data, err := jsonBody(v)
	if err != nil { // a value that JSON doesn't have, such as NaN
		code, data = http.StatusInternalServerError, []byte(`{"error":"internal error: the answer has no JSON"}`+"\n")
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(code)
	_, _ = w.Write(data) // a client that has gone hears nothing
}

// jsonBody is a value as a line of JSON.
func jsonBody(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append(data, '\n'), err
}

// writeBytes sends what isn't JSON.
func writeBytes(w http.ResponseWriter, kind string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // a client that has gone hears nothing
}
