package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/progress"
)

// download fetches one address into a file, and continues a part that an earlier attempt
// left.
type download struct {
	address  string
	part     string
	client   *http.Client
	progress progress.Func // bytes
	idle     time.Duration // the longest that the server may send nothing
}

// Names of a part, and of the file beside it that has its origin.
const (
	partSuffix   = ".part"
	originSuffix = ".json"
)

// origin describes the file that a part belongs to. It is stored beside the part.
type origin struct {
	Address string `json:"address"`
	ETag    string `json:"etag,omitempty"`
	Date    string `json:"last_modified,omitempty"`
	Length  int64  `json:"length"` // of the whole file; −1: unknown
}

// attempts is the number of consecutive attempts without progress.
const attempts = 3

// run fetches the file. If no hash will check the file in the end, a part is continued only
// if the server confirms that it belongs to the same file.
func (d *download) run(ctx context.Context, hashed bool) error {
	for failures := 0; ; {
		before := d.size()
		err := d.attempt(ctx, hashed)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if broken := (*brokenError)(nil); !errors.As(err, &broken) {
			return err
		}
		if d.size() > before {
			failures = 0
		}
		if failures++; failures == attempts {
			return fmt.Errorf("%w; the part that has arrived is kept, and the next attempt continues it", err)
		}
	}
}

// brokenError is a broken connection, which is worth another attempt.
type brokenError struct{ err error }

func (b *brokenError) Error() string { return b.err.Error() }
func (b *brokenError) Unwrap() error { return b.err }

func (d *download) size() int64 {
	info, err := os.Stat(d.part)
	if err != nil {
		return 0
	}
	return info.Size()
}

func (d *download) originFile() string { return d.part + originSuffix }

// known returns the origin of the part, if it is known and the part may be continued.
func (d *download) known(hashed bool) (origin, bool) {
	var o origin
	text, err := wholefile.Read(d.originFile(), wholefile.MaxText)
	if err != nil || json.Unmarshal(text, &o) != nil || o.Address != d.address {
		return origin{}, false
	}
	return o, hashed || o.validator() != ""
}

// validator returns the server's mark of the file's version. A weak ETag is none.
func (o origin) validator() string {
	if o.ETag != "" && !strings.HasPrefix(o.ETag, "W/") {
		return o.ETag
	}
	return o.Date
}

// forget removes the origin.
func (d *download) forget() { _ = os.Remove(d.originFile()) }

func (d *download) attempt(ctx context.Context, hashed bool) error {
	start := d.size()
	was, ok := d.known(hashed)
	if !ok {
		start = 0
	}
	if start > 0 && start == was.Length {
		return nil
	}
	ctx, watch := d.watch(ctx)
	defer watch.end()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "identity")
	if start > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", start))
		if v := was.validator(); v != "" {
			req.Header.Set("If-Range", v)
		}
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return &brokenError{cmp.Or(watch.stalled(ctx), err)}
	}
	defer resp.Body.Close()
	now := origin{Address: d.address, ETag: resp.Header.Get("ETag"), Date: resp.Header.Get("Last-Modified"), Length: resp.ContentLength}
	switch resp.StatusCode {
	case http.StatusOK:
		start = 0 // the server sends the whole file
	case http.StatusPartialContent:
		from, length, err := contentRange(resp.Header.Get("Content-Range"))
		if err != nil || from != start || was.Length >= 0 && length != was.Length {
			d.discard()
			return &brokenError{fmt.Errorf("%s: the server's part is %q, want it from byte %d on of %d: starting again", d.address, resp.Header.Get("Content-Range"), start, was.Length)}
		}
		now.Length = length
	case http.StatusRequestedRangeNotSatisfiable:
		d.discard()
		return &brokenError{fmt.Errorf("%s: the server has no byte %d: starting again", d.address, start)}
	default:
		err := fmt.Errorf("%s: %s", d.address, resp.Status)
		if resp.StatusCode >= 500 {
			return &brokenError{err}
		}
		return err
	}
	err = d.write(watch.reader(resp.Body), start, now)
	if stalled := watch.stalled(ctx); err != nil && stalled != nil {
		return &brokenError{fmt.Errorf("%w, with %d bytes there", stalled, d.size())}
	}
	return err
}

// watchdog ends an attempt in which the server sends nothing for too long.
type watchdog struct {
	idle  time.Duration
	timer *time.Timer // nil: it may take as long as it likes
	stop  context.CancelCauseFunc
}

// stallError is the cause of the end of an attempt's context by its watchdog.
type stallError struct {
	address string
	idle    time.Duration
}

func (e *stallError) Error() string {
	return fmt.Sprintf("%s: the server sent nothing for %v", e.address, e.idle)
}

// watch returns a context for an attempt that the watchdog ends.
func (d *download) watch(ctx context.Context) (context.Context, *watchdog) {
	ctx, stop := context.WithCancelCause(ctx)
	w := &watchdog{idle: d.idle, stop: stop}
	if d.idle > 0 {
		w.timer = time.AfterFunc(d.idle, func() { stop(&stallError{d.address, d.idle}) })
	}
	return ctx, w
}

// stalled returns the error of a server that sent nothing, or nil.
func (w *watchdog) stalled(ctx context.Context) error {
	if e, ok := errors.AsType[*stallError](context.Cause(ctx)); ok {
		return e
	}
	return nil
}

// reader returns r, with which the time begins anew whenever something arrives.
func (w *watchdog) reader(r io.Reader) io.Reader {
	if w.timer == nil {
		return r
	}
	return readerFunc(func(p []byte) (int, error) {
		w.timer.Reset(w.idle)
		n, err := r.Read(p)
		w.timer.Stop() // a slow disk is no stalled server
		return n, err
	})
}

func (w *watchdog) end() {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.stop(nil)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// discard removes a part that can't be continued, or that nobody needs.
func (d *download) discard() {
	_ = os.Remove(d.part)
	d.forget()
}

// contentRange reads "bytes FROM-TO/LENGTH".
func contentRange(s string) (from, length int64, err error) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	first, rest, ok1 := strings.Cut(rest, "-")
	_, total, ok2 := strings.Cut(rest, "/")
	from, err1 := strconv.ParseInt(first, 10, 64)
	length, err2 := strconv.ParseInt(total, 10, 64)
	if !ok || !ok1 || !ok2 || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("content range %q", s)
	}
	return from, length, nil
}

// write appends the body to the part from start on.
func (d *download) write(body io.Reader, start int64, o origin) (err error) {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	err = atomicfile.Write(d.originFile(), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(d.part, os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	if err := f.Truncate(start); err != nil {
		return err
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return err
	}
	buf := make([]byte, 1<<18)
	done := start
	for {
		n, readErr := body.Read(buf)
		if o.Length >= 0 && done+int64(n) > o.Length {
			return fmt.Errorf("%s: more than the %d bytes announced", d.address, o.Length)
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		done += int64(n)
		d.progress(done, max(0, o.Length))
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return &brokenError{fmt.Errorf("%s: %w after %d bytes", d.address, readErr, done)}
		}
	}
	if o.Length >= 0 && done < o.Length {
		return &brokenError{fmt.Errorf("%s: ended after %d of %d bytes", d.address, done, o.Length)}
	}
	return f.Sync()
}
