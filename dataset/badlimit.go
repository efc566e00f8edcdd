package dataset

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Share is a part of a whole, from 0 to 1. Its text is a fraction ("0.001") or
// a percentage ("0.1%").
type Share float64

// UnmarshalText reads a share.
func (s *Share) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return fmt.Errorf("share %q, want 0%% to 100%%, or 0 to 1", text)
	}
	*s = Share(v)
	return nil
}

// MarshalText writes a share as a percentage.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns the share as a percentage.
func (s Share) String() string {
	return strconv.FormatFloat(math.Round(float64(s)*1e10)/1e8, 'f', -1, 64) + "%"
}

// BadLimit counts the different bad images of a run, and says when they are
// more than a share of all. It is not safe for concurrent use.
type BadLimit struct {
	what  string
	total int
	share Share
	seen  map[string]bool
}

// NewBadLimit returns a limit for the images of what, total of them; a share
// of 1 is none.
func NewBadLimit(what string, total int, share Share) *BadLimit {
	return &BadLimit{what: what, total: total, share: share, seen: map[string]bool{}}
}

// Add counts images by name, each once however often it comes, and returns
// those that were not met before. The error is a [*BadLimitError] if they make
// more than the limit allows.
func (l *BadLimit) Add(bad []BadImage) (fresh []BadImage, err error) {
	for _, b := range bad {
		if !l.seen[b.Name] {
			l.seen[b.Name] = true
			fresh = append(fresh, b)
		}
	}
	// The sum makes 0.1 % of 1000 images one, whatever the rounding.
	allowed := int(math.Floor(float64(l.share)*float64(l.total) + 1e-9))
	if len(l.seen) > allowed && len(fresh) > 0 {
		last := fresh[len(fresh)-1]
		return fresh, &BadLimitError{Data: l.what, Bad: len(l.seen), Total: l.total, Allowed: allowed, Share: l.share, Last: last}
	}
	return fresh, nil
}

// Restore counts images that were met before, as Names gave them.
func (l *BadLimit) Restore(names []string) {
	for _, n := range names {
		l.seen[n] = true
	}
}

// Names returns the names of the images counted, sorted.
func (l *BadLimit) Names() []string {
	return slices.Sorted(maps.Keys(l.seen))
}

// Count returns how many images were counted.
func (l *BadLimit) Count() int { return len(l.seen) }

// BadLimitError stops a run in which too many images are unreadable.
type BadLimitError struct {
	Data       string
	Bad, Total int
	Allowed    int // images that may be bad
	Share      Share
	Last       BadImage
}

func (e *BadLimitError) Error() string {
	return fmt.Sprintf("dataset: %s: %d of %d images are unreadable, want at most %d (%s); the last: %s: %v",
		e.Data, e.Bad, e.Total, e.Allowed, e.Share, e.Last.Name, e.Last.Err)
}

// Unwrap returns what is wrong with the last image.
func (e *BadLimitError) Unwrap() error { return e.Last.Err }
