package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/verydeep/vgg/internal/wholefile"
)

// answer is what a server sends for an object or a part of it.
type answer struct {
	header http.Header
	part   bool // of the object, from the byte that was asked for
	body   io.ReadCloser
}

// way reads objects by one protocol. The error is a [*failure].
type way interface {
	// get asks for the bytes from first to last; with last < 0 for all. match, unless it is "",
	// is the ETag that the object must have.
	get(ctx context.Context, o *object, first, last int64, match string) (*answer, error)
}

// patience is how long a server is waited for.
type patience struct {
	attempts int           // that bring nothing, one after the other
	wait     time.Duration // before the second; twice that before the third, and so on
	most     time.Duration // of these
	idle     time.Duration // without a byte
}

const (
	mostAttempts = 10 // that bring nothing, one after the other
	mostIdle     = 30 // seconds without a byte
)

// defaultPatience pauses for 23 to 46 seconds in all, in which most failures of object stores are
// over. A server that takes connections and sends nothing costs ten times 30 seconds besides.
var defaultPatience = patience{attempts: mostAttempts, wait: 100 * time.Millisecond, most: 20 * time.Second, idle: mostIdle * time.Second}

// pause waits before another attempt, or until ctx is done. Many processes that failed together
// don't come again together.
func (p patience) pause(ctx context.Context, failures int, asked time.Duration) error {
	d := min(p.wait<<min(failures-1, 16), p.most)
	d = d/2 + rand.N(d/2+1)
	t := time.NewTimer(max(d, min(asked, p.most)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stallError is of a server that sends nothing.
type stallError struct{ idle time.Duration }

func (e *stallError) Error() string { return fmt.Sprintf("the server sent nothing for %v", e.idle) }

// retry calls attempt until it succeeds, or fails in a way that doesn't pass. attempt reports
// whether it got on, after which failures are counted anew.
func (f *FS) retry(ctx context.Context, attempt func(ctx context.Context, alive func()) (progress bool, err error)) error {
	for failures := 0; ; {
		one, stop := context.WithCancelCause(ctx)
		watchdog := time.AfterFunc(f.patience.idle, func() { stop(&stallError{f.patience.idle}) })
		progress, err := attempt(one, func() { watchdog.Reset(f.patience.idle) })
		watchdog.Stop()
		stalled, _ := errors.AsType[*stallError](context.Cause(one))
		stop(nil)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		failed, ok := errors.AsType[*failure](err)
		if !ok || !failed.Temporary {
			return err
		}
		if stalled != nil {
			failed.Err = stalled
		}
		if progress {
			failures = 0
		}
		if failures++; failures >= f.patience.attempts {
			failed.Problem += fmt.Sprintf(" in %d attempts; the same command goes on later", failures)
			return err
		}
		if err := f.patience.pause(ctx, failures, failed.after); err != nil {
			return err
		}
	}
}

// fetch reads the bytes of an object from off on into p. What a broken connection brought is
// kept.
func (f *FS) fetch(ctx context.Context, o *object, p []byte, off int64) error {
	head := o.head
	done := 0
	return f.retry(ctx, func(ctx context.Context, alive func()) (bool, error) {
		first, last := off+int64(done), off+int64(len(p))-1
		a, err := o.way.get(ctx, o, first, last, head.match())
		if err != nil {
			return false, err
		}
		defer a.body.Close()
		alive()
		if err := o.checkPart(a, first, head); err != nil {
			return false, err
		}
		before := done
		for done < len(p) {
			n, err := a.body.Read(p[done:])
			if done += n; n > 0 {
				alive()
			}
			if err != nil && done < len(p) {
				if err == io.EOF {
					err = errShort
				}
				return done > before, o.connectionError(err)
			}
		}
		return true, nil
	})
}

// checkPart returns an error unless an answer is the part from byte first of the object that
// was opened.
func (o *object) checkPart(a *answer, first int64, was head) error {
	if !a.part {
		return &failure{Address: o.address(), Status: http.StatusOK, Problem: "the server sends the whole file where a part was asked for, want one that knows range requests (RFC 9110), as object stores, nginx and Apache do, or the file copied to the disk"}
	}
	from, size, err := contentRange(a.header.Get("Content-Range"))
	if err != nil || from != first {
		return &failure{Address: o.address(), Status: http.StatusPartialContent, Problem: fmt.Sprintf("the server sends %q, want it from byte %d on", a.header.Get("Content-Range"), first)}
	}
	if was.size != 0 && size != was.size {
		return &failure{Address: o.address(), Status: http.StatusPartialContent, Problem: fmt.Sprintf("it has changed since the run began: %d bytes, and were %d; want it left as it is during a run", size, was.size)}
	}
	if tag := a.header.Get("ETag"); was.tag != "" && tag != "" && tag != was.tag {
		return &failure{Address: o.address(), Status: http.StatusPreconditionFailed, Problem: fmt.Sprintf("it has changed since the run began (ETag %s, and was %s), want it left as it is during a run; the next run reads it anew", tag, was.tag)}
	}
	return nil
}

// contentRange reads "bytes FROM-TO/SIZE".
func contentRange(s string) (from, size int64, err error) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	first, rest, ok1 := strings.Cut(rest, "-")
	_, total, ok2 := strings.Cut(rest, "/")
	from, err1 := strconv.ParseInt(first, 10, 64)
	size, err2 := strconv.ParseInt(total, 10, 64)
	if !ok || !ok1 || !ok2 || err1 != nil || err2 != nil || from < 0 || size <= from {
		return 0, 0, fmt.Errorf("content range %q", s)
	}
	return from, size, nil
}

// fetchAll reads a whole object, of at most so many bytes.
func (f *FS) fetchAll(ctx context.Context, o *object, most int64) (data []byte, header http.Header, err error) {
	err = f.retry(ctx, func(ctx context.Context, alive func()) (bool, error) {
		a, err := o.way.get(ctx, o, 0, -1, "")
		if err != nil {
			return false, err
		}
		defer a.body.Close()
		length, known := int64(0), false
		if text := a.header.Get("Content-Length"); text != "" {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				length, known = n, true
			}
		}
		data, err = wholefile.ReadAll(ctx, aliveReader{a.body, alive}, length, most)
		if _, large := errors.AsType[*wholefile.SizeError](err); large {
			return false, err
		}
		if err == nil && known && int64(len(data)) != length {
			err = errShort
		}
		if err != nil {
			return false, o.connectionError(err)
		}
		header = a.header
		return true, nil
	})
	return data, header, err
}

// aliveReader tells of every byte that arrives.
type aliveReader struct {
	r     io.Reader
	alive func()
}

func (a aliveReader) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if n > 0 {
		a.alive()
	}
	return n, err
}
