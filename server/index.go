package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

// IndexSource is where an index of pictures comes from.
type IndexSource struct {
	// Open opens the index ([transfer.OpenIndex], or [transfer.IndexOf] descriptors in memory). It
	// is called anew when the stamp changes.
	Open func(ctx context.Context) (*transfer.Index, error)
	// Network opens a network that the index names.
	Network func(ctx context.Context, n transfer.NetID) (*vgg.Model, error)
	// Stamp returns what changes when the index does; nil: it is never looked at again.
	Stamp func() (string, error)
	// Pictures is the folder of the index's pictures. Only pictures below it are shown, and
	// names are told from it on.
	Pictures string
}

// index is an index that is served.
type index struct {
	source  IndexSource
	loading sync.Mutex
	mu      sync.Mutex
	current *opened
	stamp   string
}

// opened is an index as one reading gave it.
type opened struct {
	number    int64
	d         *transfer.Index
	pictures  string // the folder of the pictures
	describer *transfer.Describer
	batcher   *batcher
	uses      sync.WaitGroup

	mu         sync.Mutex
	duplicates map[float64][][]indexedPicture
}

// indexedPicture is a picture of the index in an answer.
type indexedPicture struct {
	File    string `json:"file"`
	Index   int    `json:"index"`
	Picture bool   `json:"picture"` // /v1/index/{index}/picture shows it
}

// errNoIndex is the failure where no index is served.
var errNoIndex = &failure{code: http.StatusNotImplemented, err: errors.New("no index is served: start the service with --index FILE, which vgg index makes")}

// indexLabel stands in metrics for the name of a model.
const indexLabel = "index"

// SetIndex serves an index of pictures: /v1/similar finds those that are similar to a picture.
func (s *Server) SetIndex(ctx context.Context, source IndexSource) error {
	if source.Open == nil || source.Network == nil {
		return errors.New("server: an index without Open or Network")
	}
	x := &index{source: source}
	start := time.Now()
	err := s.loadIndex(ctx, x)
	s.reloaded(indexLabel, start, err)
	if err != nil {
		return err
	}
	s.pictureIndex.Store(x)
	return nil
}

// loadIndex reads the index and its networks. If that fails, what was read before stays.
func (s *Server) loadIndex(ctx context.Context, x *index) error {
	x.loading.Lock()
	defer x.loading.Unlock()
	stamp := ""
	if x.source.Stamp != nil {
		stamp, _ = x.source.Stamp() // a file that has gone is told by Open
	}
	o, err := s.openIndex(ctx, x.source)
	x.mu.Lock()
	x.stamp = stamp
	if err != nil {
		x.mu.Unlock()
		return err
	}
	old := x.current
	x.current = o
	x.mu.Unlock()
	if old != nil {
		go old.retire()
	}
	return nil
}

func (s *Server) openIndex(ctx context.Context, source IndexSource) (*opened, error) {
	d, err := source.Open(ctx)
	if err != nil {
		return nil, err
	}
	describer, err := transfer.DescriberOf(d.Header, func(n transfer.NetID) (*vgg.Model, error) { return source.Network(ctx, n) })
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	o := &opened{number: s.models.next.Add(1), d: d, pictures: source.Pictures, describer: describer, duplicates: map[float64][][]indexedPicture{}}
	o.batcher = newBatcher(nil, s.options.Limits, 1, 0, s.models.turn, func(pass) {}, s.lose)
	return o, nil
}

// nameIn returns the name of a file from the folder on, with slashes; of one that lies
// elsewhere, its last part.
func nameIn(folder, file string) (name string, inside bool) {
	if folder != "" {
		rel, err := filepath.Rel(folder, file)
		if err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel), true
		}
	}
	return filepath.Base(file), false
}

// useIndex returns the index that is served, for a request, and its release.
func (s *Server) useIndex(r *http.Request) (*opened, func(), error) {
	x := s.pictureIndex.Load()
	if x == nil {
		return nil, nil, errNoIndex
	}
	about(r).model = indexLabel
	x.mu.Lock()
	defer x.mu.Unlock()
	x.current.uses.Add(1)
	return x.current, x.current.uses.Done, nil
}

// changed tells whether the file has another stamp than when it was read.
func (x *index) changed() bool {
	if x.source.Stamp == nil {
		return false
	}
	stamp, err := x.source.Stamp()
	x.mu.Lock()
	defer x.mu.Unlock()
	return err == nil && stamp != x.stamp
}

// close ends the service of the index, after the requests that use it.
func (x *index) close() {
	x.loading.Lock()
	defer x.loading.Unlock()
	x.current.retire()
}

// retire frees an index once no request uses it.
func (o *opened) retire() {
	o.uses.Wait()
	o.batcher.close()
	_ = o.d.Close() // it was only read
}

// picture describes the picture of a row. Its name is from the folder of the pictures on, else
// the last part.
func (o *opened) picture(row int) (indexedPicture, error) {
	r, err := o.d.Row(row)
	if err != nil {
		return indexedPicture{}, err
	}
	name, inside := nameIn(o.pictures, r.File)
	return indexedPicture{name, row, inside && r.Error == ""}, nil
}

// aboutIndex describes the index.
func (s *Server) aboutIndex(w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	o, release, err := s.useIndex(r)
	if err != nil {
		return err
	}
	defer release()
	var layers []map[string]any
	for _, n := range o.d.Header.Nets {
		layers = append(layers, map[string]any{"layer": n.Layer, "scales": n.Scales, "channels": n.Channels})
	}
	writeJSON(w, http.StatusOK, map[string]any{"images": o.d.Images(), "rows": o.d.Len(), "dim": o.describer.Dim(), "networks": layers})
	return nil
}

// similarAnswer is the answer about a picture. Its keys are those of `vgg similar --json`, and
// the number of each picture in the index.
type similarAnswer struct {
	File  string         `json:"file"`
	Found []similarFound `json:"found"`
}

type similarFound struct {
	indexedPicture
	Similarity float32 `json:"similarity"`
}

// mostFound is the most pictures that an answer lists.
const mostFound = 1000

// similar finds the pictures of the index that are similar to one.
func (s *Server) similar(w http.ResponseWriter, r *http.Request) error {
	query, err := queryOf(r, "top", "least")
	if err != nil {
		discard(r)
		return err
	}
	o, release, err := s.useIndex(r)
	if err != nil {
		discard(r)
		return err
	}
	defer release()
	top, err := integer(query, "top", 10, 1, mostFound)
	if err != nil {
		return err
	}
	least, err := number(query, "least", -1, -1, 1)
	if err != nil {
		return err
	}
	p, free, err := s.onePicture(r)
	if err != nil {
		return err
	}
	defer free()
	found, err := s.searched(r.Context(), o, p.data, top)
	if err != nil {
		return err
	}
	a := similarAnswer{File: p.name, Found: []similarFound{}}
	for _, m := range found {
		if float64(m.Similarity) < least {
			continue
		}
		shown, err := o.picture(m.Row)
		if err != nil {
			return err
		}
		a.Found = append(a.Found, similarFound{shown, m.Similarity})
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// searched returns the rows that are the most similar to a picture.
func (s *Server) searched(ctx context.Context, o *opened, data []byte, top int) (found []transfer.Match, err error) {
	way := descriptors{label: indexLabel, number: o.number, batcher: o.batcher, describer: o.describer, question: "similar"}
	_, err = way.of(ctx, s, data, func(ctx context.Context, x []float32) error {
		best, _, err := o.d.Search(ctx, x, min(top, o.d.Len()), transfer.SearchOptions{})
		if err == nil {
			found = best[0]
		}
		return err
	})
	return found, err
}

// mostCompared is the most products of numbers that a request for near-duplicates may take.
const mostCompared = 4e12

// nearDuplicates lists groups of pictures that are almost the same.
func (s *Server) nearDuplicates(w http.ResponseWriter, r *http.Request) error {
	query, err := queryOf(r, "duplicates")
	if err != nil {
		return err
	}
	least, err := number(query, "duplicates", 0.99, 0.5, 1)
	if err != nil {
		return err
	}
	o, release, err := s.useIndex(r)
	if err != nil {
		return err
	}
	defer release()
	n := float64(o.d.Len())
	if work := n * n / 2 * float64(o.describer.Dim()); work > mostCompared {
		return refuse(http.StatusRequestEntityTooLarge, "duplicates", "an index of %s pictures has too many pairs for a request: vgg similar INDEX --duplicates %g lists them", report.Count(int64(n)), least)
	}
	groups, err := s.groups(r.Context(), o, least)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"duplicates": groups})
	return nil
}

// mostKeptGroups is for how many thresholds near-duplicates are kept.
const mostKeptGroups = 16

// groups returns the groups of near-duplicates, which are found once.
func (s *Server) groups(ctx context.Context, o *opened, least float64) ([][]indexedPicture, error) {
	o.mu.Lock()
	kept, ok := o.duplicates[least]
	o.mu.Unlock()
	if ok {
		return kept, nil
	}
	place, err := o.batcher.enter(1)
	if err != nil {
		return nil, err
	}
	defer place.leave()
	var pairs []transfer.Pair
	if _, err := o.batcher.alone(ctx, place, func(ctx context.Context) (err error) {
		pairs, err = o.d.Duplicates(ctx, least, transfer.SearchOptions{})
		return err
	}); err != nil {
		return nil, err
	}
	groups := [][]indexedPicture{}
	for _, g := range transfer.Groups(pairs) {
		var list []indexedPicture
		for _, row := range g {
			p, err := o.picture(row)
			if err != nil {
				return nil, err
			}
			list = append(list, p)
		}
		groups = append(groups, list)
	}
	o.mu.Lock()
	if len(o.duplicates) < mostKeptGroups {
		o.duplicates[least] = groups
	}
	o.mu.Unlock()
	return groups, nil
}

// row returns the row of the index that an address names.
func (o *opened) row(text string) (int, error) {
	i, err := strconv.Atoi(text)
	if err != nil || i < 0 || i >= o.d.Len() {
		return 0, &failure{code: http.StatusNotFound, err: fmt.Errorf("no picture %q, the index has %d, from 0 on", abbreviated(text), o.d.Len())}
	}
	return i, nil
}
