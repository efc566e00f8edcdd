package lockfile

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// taken is the environment variable that makes the test binary take the lock it names.
const taken = "VGG_TEST_LOCK"

func TestMain(m *testing.M) {
	if path := os.Getenv(taken); path != "" {
		release, err := Take(path)
		var held *HeldError
		switch {
		case err == nil:
			release()
			os.Exit(0)
		case errors.As(err, &held) && held.PID == os.Getppid():
			os.Exit(3)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	second := func() int {
		t.Helper()
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), taken+"="+path)
		var failed *exec.ExitError
		if err := c.Run(); err != nil && !errors.As(err, &failed) {
			t.Fatal(err)
		}
		return c.ProcessState.ExitCode()
	}
	// The file of a killed process doesn't hold the lock.
	if err := os.WriteFile(path, []byte("4711\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	release, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if code := second(); code != 3 {
		t.Errorf("another process ends with %d, want 3: held by this one", code)
	}
	_, err = Take(path)
	var held *HeldError
	if !errors.As(err, &held) || held.PID != os.Getpid() || held.Path != path {
		t.Errorf("the lock a second time: %v", err)
	}
	release()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file stayed: %v", err)
	}
	if code := second(); code != 0 {
		t.Errorf("released, another process ends with %d, want 0", code)
	}
	var unopened *fs.PathError
	if _, err := Take(filepath.Join(t.TempDir(), "none", "lock")); !errors.As(err, &unopened) {
		t.Errorf("in a directory that isn't there: %v", err)
	}
}

// However one holder's removal of the file and another's locking interleave, there is never
// more than one holder.
func TestOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var holders atomic.Int32
	var times atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				release, err := Take(path)
				if err != nil {
					if held := (*HeldError)(nil); !errors.As(err, &held) {
						t.Error(err)
						return
					}
					continue
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d holders", n)
				}
				times.Add(1)
				holders.Add(-1)
				release()
			}
		})
	}
	group.Wait()
	if times.Load() == 0 {
		t.Error("nobody ever had it")
	}
}

// A check tells of a holder, and neither makes, removes nor locks the file.
func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := Check(path); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the check made a file: %v", err)
	}
	if err := os.WriteFile(path, []byte("4711\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err != nil {
		t.Errorf("left behind: %v", err)
	}
	release, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if held, ok := errors.AsType[*HeldError](Check(path)); !ok || held.PID != os.Getpid() {
			t.Errorf("%v, want this process", held)
		}
	}
	release()
	if err := Check(path); err != nil {
		t.Error(err)
	}
}

// One file has one lock, whatever links lead to it; pipes and devices have none.
func TestBeside(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "f"), filepath.Join(dir, "link")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", link); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	release, err := Beside(path)
	if err != nil {
		t.Fatal(err)
	}
	if held, ok := errors.AsType[*HeldError](second(Beside(link))); !ok || *held != (HeldError{link, os.Getpid()}) {
		t.Errorf("by the link: %v", held)
	}
	release()
	for _, free := range []string{link, dir + string(filepath.Separator), os.DevNull} {
		release, err := Beside(free)
		if err != nil {
			t.Error(err)
			continue
		}
		release()
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: want no lock left", entries, err)
	}
}

func second(_ func(), err error) error { return err }
