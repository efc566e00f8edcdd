package vggtest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

// Cancel checks that work ends with the cause of its context, wherever that is cancelled. It
// runs work once to count how often work looks at the context, at least so many times, and
// then again with a context that is cancelled at one of these looks. Work that hands the
// context on to goroutines, or derives others from it, isn't seen to look.
func Cancel(t *testing.T, least int, work func(ctx context.Context) error) {
	t.Helper()
	const never = 1 << 40
	whole := newLooking(t, never, nil)
	if err := work(whole); err != nil {
		t.Fatalf("not cancelled: %v", err)
	}
	looks := never - int(whole.left.Load())
	if looks < least {
		t.Fatalf("it looked at its context %d times, want at least %d", looks, least)
	}
	cause := errors.New("cancelled by the test")
	const tries = 4 // the first look, the last, and two between
	for try := range tries {
		at := 1 + try*(looks-1)/(tries-1)
		if err := work(newLooking(t, at, cause)); !errors.Is(err, cause) {
			t.Errorf("cancelled at look %d of %d: %v, want the cause", at, looks, err)
		}
	}
}

// looking is a context that is cancelled when Err has been called a number of times.
type looking struct {
	context.Context
	left   atomic.Int64
	cancel context.CancelCauseFunc
	cause  error
}

func newLooking(t *testing.T, looks int, cause error) *looking {
	l := &looking{cause: cause}
	l.Context, l.cancel = context.WithCancelCause(t.Context())
	t.Cleanup(func() { l.cancel(nil) })
	l.left.Store(int64(looks))
	return l
}

// Err implements [context.Context].
func (l *looking) Err() error {
	if l.left.Add(-1) == 0 {
		l.cancel(l.cause)
	}
	return l.Context.Err()
}
