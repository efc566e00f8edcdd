package cli

import (
	"context"
	"errors"
	"testing"
)

// TestInterruptedMessage checks that only the error of an interrupted run with an output tells
// how to continue.
func TestInterruptedMessage(t *testing.T) {
	failed := errors.New("no memory")
	ctx, interrupt := context.WithCancel(t.Context())
	e := &environment{ctx: ctx}
	if err := e.interrupted(failed, "r.jsonl"); err != failed {
		t.Errorf("without an interruption: %v, want %v", err, failed)
	}
	interrupt()
	if err := e.interrupted(failed, "r.jsonl"); err == nil || err.Error() != "interrupted; the same command continues, and completes r.jsonl" {
		t.Errorf("interrupted: %v", err)
	}
	if err := e.interrupted(failed, ""); err != failed {
		t.Errorf("interrupted, without an output: %v, want %v", err, failed)
	}
	if err := e.interrupted(nil, "r.jsonl"); err != nil {
		t.Errorf("done before the interruption: %v", err)
	}
}
