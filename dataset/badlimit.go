package dataset

import (
	"fmt"
	"math"
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

// BadLimit counts the different bad images of a dataset, and says when they
// are more than a share of it. It is not safe for concurrent use.
type BadLimit struct {
	data  *Dataset
	share Share
	seen  map[int]bool
}

// NewBadLimit returns a limit for d's images; a share of 1 is none.
func NewBadLimit(d *Dataset, share Share) *BadLimit {
	return &BadLimit{data: d, share: share, seen: map[int]bool{}}
}

// Add counts images, each once however often it comes, and returns those that
// were not met before. The error is a [*BadLimitError] once there are more than
// the limit allows.
func (l *BadLimit) Add(bad []BadImage) (fresh []BadImage, err error) {
	for _, b := range bad {
		if !l.seen[b.Index] {
			l.seen[b.Index] = true
			fresh = append(fresh, b)
		}
	}
	// The product is rounded, so that 0.1 % of 1000 images is one.
	allowed := int(math.Floor(float64(l.share)*float64(l.data.Len()) + 1e-9))
	if len(l.seen) > allowed && len(fresh) > 0 {
		last := fresh[len(fresh)-1]
		return fresh, &BadLimitError{Data: l.data.Name, Bad: len(l.seen), Total: l.data.Len(), Allowed: allowed, Share: l.share, Last: last}
	}
	return fresh, nil
}

// Count returns how many different images were bad.
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
