package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/train"
)

// runLog follows the metrics of a training run. It reads only what is new of the file, which
// may have many megabytes.
type runLog struct {
	dir string
	mu  sync.Mutex
	runRead
}

// runRead is what was read of a run.
type runRead struct {
	generation int   // changes when lines that were read are no longer there
	size       int64 // of the whole lines that were read
	lines      int
	offsets    []int64 // of every strideLines-th line
	tail       []byte  // the last line, to tell whether the file is still the same
	changed    time.Time

	start     runStart
	iteration json.RawMessage // the latest line of its kind
	epoch     json.RawMessage
	best      json.RawMessage
	perEpoch  float64 // seconds of the latest epoch
}

// runStart is what a run has to do.
type runStart struct {
	Iterations int `json:"iterations"`
	Epochs     int `json:"epochs"`
	Images     int `json:"images"`
	Validation int `json:"validation"`
	Classes    int `json:"classes"`
	Batch      int `json:"batch"`
}

const (
	strideLines  = 256
	longestLine  = 1 << 20
	mostRunLines = 4096    // of an answer
	mostRunBytes = 4 << 20 // of an answer
)

// update reads what is new.
func (l *runLog) update() error {
	f, err := wholefile.Open(filepath.Join(l.dir, train.MetricsFile))
	if errors.Is(err, os.ErrNotExist) && l.lines == 0 {
		return nil // the run has just begun
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !l.same(f, info.Size()) {
		l.runRead = runRead{generation: l.generation + 1}
	}
	l.changed = info.ModTime()
	if info.Size() == l.size {
		return nil
	}
	in := bufio.NewReaderSize(io.NewSectionReader(f, l.size, info.Size()-l.size), 64<<10)
	for {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return nil // a part of a line is read again when it is whole
		}
		if err != nil {
			return err
		}
		l.add(line)
	}
}

// readLine returns the next line with its end.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > longestLine:
			return nil, fmt.Errorf("%s: a line of more than %d bytes", train.MetricsFile, longestLine)
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		}
	}
}

// same tells whether the file still has the lines that were read: a run that goes on from a
// checkpoint removes those after it.
func (l *runLog) same(f io.ReaderAt, size int64) bool {
	if size < l.size {
		return false
	}
	there := make([]byte, len(l.tail))
	_, err := f.ReadAt(there, l.size-int64(len(l.tail)))
	return len(there) == 0 || err == nil && bytes.Equal(there, l.tail)
}

// add takes a line.
func (l *runLog) add(line []byte) {
	if l.lines%strideLines == 0 {
		l.offsets = append(l.offsets, l.size)
	}
	l.lines++
	l.size += int64(len(line))
	l.tail = append(l.tail[:0], line...)
	var kept *json.RawMessage
	switch {
	case bytes.HasPrefix(line, []byte(`{"kind":"iteration",`)):
		kept = &l.iteration
	case bytes.HasPrefix(line, []byte(`{"kind":"epoch",`)):
		kept = &l.epoch
		var e struct {
			Best    bool    `json:"best"`
			Seconds float64 `json:"seconds"`
		}
		if json.Unmarshal(line, &e) == nil {
			l.perEpoch = e.Seconds
			if e.Best {
				l.best = append(json.RawMessage(nil), bytes.TrimSpace(line)...)
			}
		}
	case bytes.HasPrefix(line, []byte(`{"kind":"start",`)):
		var s runStart
		if json.Unmarshal(line, &s) == nil {
			l.start = s
		}
	}
	if kept != nil && json.Valid(line) {
		*kept = append((*kept)[:0:0], bytes.TrimSpace(line)...)
	}
}

// read returns the lines from line since on, as many as fit in an answer.
func (l *runLog) read(since int) ([]json.RawMessage, error) {
	list := []json.RawMessage{}
	if since >= l.lines {
		return list, nil
	}
	f, err := wholefile.Open(filepath.Join(l.dir, train.MetricsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at := l.offsets[since/strideLines]
	in := bufio.NewReaderSize(io.NewSectionReader(f, at, l.size-at), 64<<10)
	total := 0
	for i := since - since%strideLines; i < l.lines && len(list) < mostRunLines; i++ {
		line, err := readLine(in)
		if err != nil {
			return nil, err
		}
		if i < since {
			continue
		}
		line = bytes.TrimSpace(line)
		if total += len(line); total > mostRunBytes && len(list) > 0 {
			break
		}
		list = append(list, told(line))
	}
	return list, nil
}

// told returns what is told of a line: all of the kinds that have no path of the machine, and
// of others the kind.
func told(line []byte) json.RawMessage {
	var l struct {
		Kind string `json:"kind"`
	}
	if json.Unmarshal(line, &l) != nil {
		return json.RawMessage("null") // what isn't JSON is a line all the same
	}
	switch l.Kind {
	case "start", "iteration", "epoch", "rescue":
		return line
	}
	kind, err := json.Marshal(l)
	if err != nil {
		return json.RawMessage("null")
	}
	return kind
}

// runProgress is how far a run is.
type runProgress struct {
	Epoch           int             `json:"epoch"`
	Epochs          int             `json:"epochs,omitempty"` // at most
	Iteration       int             `json:"iteration"`
	Iterations      int             `json:"iterations,omitempty"` // if every epoch is run
	Loss            *float64        `json:"loss"`
	LearningRate    *float64        `json:"learning_rate"`
	ImagesPerSecond *float64        `json:"images_per_second"`
	ETA             *float64        `json:"eta_seconds"` // null if it isn't known, or the run has ended
	Latest          json.RawMessage `json:"latest"`      // the latest epoch's line, or null
	Best            json.RawMessage `json:"best"`        // that of the epoch with the least error, or null
}

// progress tells how far the run is. recipe is its recipe as it is now, which may have been
// given more epochs since it began.
func (l *runLog) progress(recipe *train.Recipe, running bool) runProgress {
	p := runProgress{Latest: l.epoch, Best: l.best, Epochs: l.start.Epochs, Iterations: l.start.Iterations}
	var it struct {
		Epoch           int      `json:"epoch"`
		Iteration       int      `json:"iteration"`
		Images          int      `json:"images"`
		Loss            *float64 `json:"loss"`
		LearningRate    *float64 `json:"learning_rate"`
		ImagesPerSecond *float64 `json:"images_per_second"`
	}
	if l.iteration != nil && json.Unmarshal(l.iteration, &it) == nil {
		p.Epoch, p.Iteration, p.Loss, p.LearningRate, p.ImagesPerSecond = it.Epoch, it.Iteration, it.Loss, it.LearningRate, it.ImagesPerSecond
	}
	each := 0 // iterations of an epoch
	if l.start.Batch > 0 {
		each = (l.start.Images + l.start.Batch - 1) / l.start.Batch
	}
	if recipe != nil {
		p.Epochs = recipe.Epochs
		if each > 0 {
			p.Iterations = min(each*recipe.Epochs, recipe.MaxIterations)
		}
	}
	left := p.Iterations - p.Iteration
	switch {
	case !running || left < 0 || p.Iteration == 0:
	case l.perEpoch > 0 && each > 0: // with its validation
		eta := l.perEpoch * float64(left) / float64(each)
		p.ETA = &eta
	case it.ImagesPerSecond != nil && *it.ImagesPerSecond > 0:
		eta := float64(left) * float64(it.Images) / *it.ImagesPerSecond
		p.ETA = &eta
	}
	return p
}
