package server

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// Samples are pictures that the page offers to try.
type Samples struct {
	// Credit is the attribution that their licence asks for; the page shows it.
	Credit   string
	Pictures []SamplePicture
	// Lessons are classes to teach, which the page fills in where somebody wants to try it.
	Lessons []SampleLesson
}

// SampleLesson is a class with pictures to teach it by.
type SampleLesson struct {
	Class    string
	Pictures []SamplePicture
}

// all are the pictures in the order of their numbers: those to try, and those of the lessons.
func (s Samples) all() []SamplePicture {
	list := slices.Clone(s.Pictures)
	for _, l := range s.Lessons {
		list = append(list, l.Pictures...)
	}
	return list
}

// SamplePicture is a picture to try.
type SamplePicture struct {
	Name string // what it shows
	Data []byte // the file: JPEG, PNG, GIF or WebP
}

// listSamples tells what pictures there are.
func (s *Server) listSamples(w http.ResponseWriter, _ *http.Request) error {
	type lesson struct {
		Class   string `json:"class"`
		Samples []int  `json:"samples"` // their numbers
	}
	names, lessons, next := []string{}, []lesson{}, len(s.options.Samples.Pictures)
	for _, p := range s.options.Samples.Pictures {
		names = append(names, p.Name)
	}
	for _, l := range s.options.Samples.Lessons {
		one := lesson{l.Class, []int{}}
		for range l.Pictures {
			one.Samples = append(one.Samples, next)
			next++
		}
		lessons = append(lessons, one)
	}
	writeJSON(w, http.StatusOK, map[string]any{"credit": s.options.Samples.Credit, "names": names, "classes": lessons})
	return nil
}

// samplePicture sends the file of a picture.
func (s *Server) samplePicture(w http.ResponseWriter, r *http.Request) error {
	list := s.options.Samples.all()
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
