package vggtest

import (
	"context"
	"testing"
	"time"
)

// UntilDeadline returns a context for processes that a test waits for. It is done shortly before
// the time of the tests is over, so that the test tells what they said. A shorter limit of a
// test's own would be passed wherever the machine has other work.
func UntilDeadline(t *testing.T) context.Context {
	t.Helper()
	end, ok := t.Deadline()
	if !ok {
		return t.Context()
	}
	ctx, cancel := context.WithDeadline(t.Context(), end.Add(-15*time.Second))
	t.Cleanup(cancel)
	return ctx
}
