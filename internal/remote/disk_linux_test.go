package remote

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

const limitEnv = "VGG_TEST_CACHE_LIMIT" // the folder of the cache of a process whose files are bounded

// On a full disk, for which a bound of the size of files stands, the cache says so once and keeps
// what it has.
func TestCacheOnFullDisk(t *testing.T) {
	if dir := os.Getenv(limitEnv); dir != "" {
		signal.Ignore(syscall.SIGXFSZ)
		const most = 7*partBytes + 100 // the eighth part is written in part
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			t.Fatal(err)
		}
		remarks := fill(dir, 0, 1)
		if len(remarks) != 1 || !strings.HasPrefix(remarks[0], "nothing more that is downloaded is kept in "+dir) {
			t.Errorf("remarks %q", remarks)
		}
		if n := check(t, dir, 1); n != 7 {
			t.Errorf("%d parts, want the 7 that there is room for", n)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCacheOnFullDisk$")
	cmd.Env = append(os.Environ(), limitEnv+"="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
