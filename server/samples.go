package server

import (
	"fmt"
	"net/http"
	"strconv"
)

// Samples are pictures that the page offers to try.
type Samples struct {
	// Credit is the attribution that their licence asks for; the page shows it.
	Credit   string
	Pictures []SamplePicture
}

// SamplePicture is a picture to try.
type SamplePicture struct {
	Name string // what it shows
	Data []byte // the file: JPEG, PNG, GIF or WebP
}

// listSamples tells what pictures there are.
func (s *Server) listSamples(w http.ResponseWriter, _ *http.Request) error {
	names := []string{}
	for _, p := range s.options.Samples.Pictures {
		names = append(names, p.Name)
	}
	writeJSON(w, http.StatusOK, map[string]any{"credit": s.options.Samples.Credit, "names": names})
	return nil
}

// samplePicture sends the file of a picture.
func (s *Server) samplePicture(w http.ResponseWriter, r *http.Request) error {
	list := s.options.Samples.Pictures
	i, err := strconv.Atoi(r.PathValue("number"))
	if err != nil || i < 0 || i >= len(list) {
		return &failure{code: http.StatusNotFound, err: fmt.Errorf("no sample %q, there are %d, from 0 on", abbreviated(r.PathValue("number")), len(list))}
	}
	w.Header().Set("Content-Type", http.DetectContentType(list[i].Data))
	w.Header().Set("Content-Length", strconv.Itoa(len(list[i].Data)))
	w.Header().Set("Cache-Control", "private, max-age=3600")
	_, _ = w.Write(list[i].Data) // a client that has gone hears nothing
	return nil
}
