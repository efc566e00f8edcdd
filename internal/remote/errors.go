package remote

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// failure is why an object can't be read. It has no query of an address, which may be a signature.
type failure struct {
	Address string // without its query
	Status  int    // of HTTP; 0: no answer
	Code    string // of an object store: NoSuchKey, AccessDenied
	// Temporary says that the same may succeed later: the server didn't answer, or said that it
	// couldn't, at each of the attempts.
	Temporary bool
	Problem   string // what is wrong, and what is wanted
	Err       error  // of the connection; nil: there was an answer

	after   time.Duration // in which the server wants to be asked again; 0: it doesn't say
	expired bool          // access was refused since a signature or session is too old
}

func (e *failure) Error() string {
	text := e.Address + ": " + e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *failure) Unwrap() error { return e.Err }

// Failed reports whether an error is of the way to an object rather than of its contents.
func Failed(err error) bool {
	_, ok := errors.AsType[*failure](err)
	return ok
}

// Temporary reports whether an error is of the way to an object that may be open again later.
func Temporary(err error) bool {
	e, ok := errors.AsType[*failure](err)
	return ok && e.Temporary
}

// answerError returns the error of an answer. message is what the server says, in part.
func (o *object) answerError(status int, code, message string) *failure {
	e := &failure{Address: o.address(), Status: status, Code: code}
	said := fmt.Sprintf("%d %s", status, http.StatusText(status))
	if code != "" {
		said += ", " + code
	}
	switch {
	case status == http.StatusNotFound:
		e.Problem = fmt.Sprintf("not there (%s), want the name of an object that is", said)
	case (status == http.StatusForbidden || status == http.StatusUnauthorized || status == http.StatusBadRequest) && o.expired(code, message):
		e.expired = true
		e.Problem = fmt.Sprintf("the signature of the address, or the session, has expired (%s), want new ones; the same command then goes on", said)
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		e.Problem = fmt.Sprintf("access refused (%s), want %s", said, o.wanted())
	case status == http.StatusPreconditionFailed:
		e.Problem = fmt.Sprintf("it has changed since the run began (%s), want it left as it is during a run; the next run reads it anew", said)
	case status == http.StatusRequestedRangeNotSatisfiable:
		e.Problem = fmt.Sprintf("it has become shorter since the run began (%s), want it left as it is during a run", said)
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		e.Temporary = true
		e.Problem = fmt.Sprintf("the server can't answer (%s)", said)
	default:
		e.Problem = fmt.Sprintf("the server answers %s, want the object", said)
	}
	return e
}

// wanted says what opens an object to which access is refused.
func (o *object) wanted() string {
	if o.url.Scheme == "s3" {
		return "credentials that may read it (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile in AWS_PROFILE, or the machine's role)"
	}
	return "a public address or one with a valid signature"
}

// expired reports whether an answer, or the address itself, says that its time is over.
func (o *object) expired(code, message string) bool {
	text := strings.ToLower(code + " " + message)
	if strings.Contains(text, "expired") || strings.Contains(text, "specified time frame") {
		return true
	}
	q := o.url.Query()
	for _, prefix := range []string{"X-Amz-", "X-Goog-"} {
		from, err := time.Parse("20060102T150405Z", q.Get(prefix+"Date"))
		lasts, err2 := time.ParseDuration(q.Get(prefix+"Expires") + "s")
		if err == nil && err2 == nil && time.Now().After(from.Add(lasts)) {
			return true
		}
	}
	return false
}

// connectionError returns the error of a connection that broke or wasn't made. It has no query.
func (o *object) connectionError(err error) *failure {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	return &failure{Address: o.address(), Temporary: true, Problem: "can't be read", Err: err}
}

// errShort is of a body of fewer bytes than were announced or asked for.
var errShort = errors.New("the server's answer is cut short")
