package server

import (
	"encoding"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// form is a form of an answer beside JSON: its name in the parameter format, and its media
// types in the header Accept.
type form struct {
	name  string
	kinds []string
}

var (
	pngForm = form{"png", []string{"image/png"}}
	npyForm = form{"npy", []string{"application/x-npy", "application/octet-stream"}}
)

// formOf returns the form in which an answer is wanted, json or that of other: by the parameter
// format, else by the header Accept. A wildcard takes JSON.
func formOf(r *http.Request, query url.Values, other form) (string, error) {
	switch format := query.Get("format"); {
	case format == "json" || format == other.name:
		return format, nil
	case query.Has("format"):
		return "", badRequest("parameter format of %q, want json or %s", abbreviated(format), other.name)
	}
	for kind := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		switch kind, _, _ = mime.ParseMediaType(kind); {
		case slices.Contains(other.kinds, kind):
			return other.name, nil
		case kind == "application/json" || kind == "*/*":
			return "json", nil
		}
	}
	return "json", nil
}

// boolean returns a parameter that is true or false. Its name alone is true.
func boolean(values url.Values, name string, def bool) (bool, error) {
	if !values.Has(name) {
		return def, nil
	}
	switch values.Get(name) {
	case "", "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	}
	return false, badRequest("parameter %s of %q, want true or false", name, abbreviated(values.Get(name)))
}

// number returns a parameter from least to most.
func number(values url.Values, name string, def, least, most float64) (float64, error) {
	if !values.Has(name) {
		return def, nil
	}
	v, err := strconv.ParseFloat(values.Get(name), 64)
	if err != nil || !(v >= least && v <= most) {
		return 0, badRequest("parameter %s of %q, want a number from %g to %g", name, abbreviated(values.Get(name)), least, most)
	}
	return v, nil
}

// chosen returns a parameter that is one of several words, the first by default.
func chosen(values url.Values, name string, words ...string) (string, error) {
	if !values.Has(name) {
		return words[0], nil
	}
	if !slices.Contains(words, values.Get(name)) {
		return "", badRequest("parameter %s of %q, want %s", name, abbreviated(values.Get(name)), strings.Join(words, " or "))
	}
	return values.Get(name), nil
}

// parsed sets v to a parameter, if it is given.
func parsed(values url.Values, name string, v encoding.TextUnmarshaler) error {
	if !values.Has(name) {
		return nil
	}
	if err := v.UnmarshalText([]byte(values.Get(name))); err != nil {
		return badRequest("parameter %s: %w", name, err)
	}
	return nil
}

// onePicture returns the only image file of a request.
func (s *Server) onePicture(r *http.Request) (picture, func(), error) {
	list, release, err := s.pictures(r)
	if err != nil {
		return picture{}, nil, err
	}
	if len(list) > 1 {
		release()
		return picture{}, nil, badRequest("%d pictures, want one", len(list))
	}
	return list[0], release, nil
}
