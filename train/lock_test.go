package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOneRunInADirectory: while a run is under way another one in its directory is
// refused, and changes nothing; afterwards it goes on from where the first came to.
func TestOneRunInADirectory(t *testing.T) {
	o := resumeOptions(t)
	tried := false
	o.OnIteration = func(Iteration) {
		if tried {
			return
		}
		tried = true
		second := resumeOptions(t)
		second.Dir = o.Dir
		for _, resume := range []bool{true, false} {
			second.Resume = resume
			_, err := Run(context.Background(), second)
			if err == nil {
				t.Fatalf("resume %v: a second run in the directory", resume)
			}
			want := fmt.Sprintf("run directory %s: another run is writing it (process %d)", o.Dir, os.Getpid())
			if held, ok := errors.AsType[*HeldError](err); !ok || held.Path != o.Dir || held.PID != os.Getpid() {
				t.Errorf("resume %v: %#v, want a HeldError", resume, err)
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("resume %v: %v, want %q in it", resume, err, want)
			}
		}
	}
	mustRun(t, o)
	if !tried {
		t.Fatal("no iteration")
	}
	whole := resumeOptions(t)
	mustRun(t, whole)
	sameRun(t, "with a second one refused", o.Dir, whole.Dir)
	if _, err := os.Stat(filepath.Join(o.Dir, LockFile)); !os.IsNotExist(err) {
		t.Errorf("the lock stayed: %v", err)
	}
	o.OnIteration, o.Resume = nil, true
	mustRun(t, o)
}

// TestLockOfAKilledRun: the lock that a run left which was killed is in no way of the next.
func TestLockOfAKilledRun(t *testing.T) {
	o := tinyOptions(t)
	o.Recipe.Epochs = 1
	if err := os.MkdirAll(o.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, LockFile), []byte("4711\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	mustRun(t, o)
	wantFiles(t, o.Dir, BestFile, "events", LastFile, MetricsFile, RecipeFile)
}
