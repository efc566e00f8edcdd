//go:build !unix || aix || solaris

package atomicfile

import (
	"io"
	"os"
	"runtime"
)

// hold does nothing: Windows doesn't let anybody remove a file that is open.
func hold(file, string) (io.Closer, error) { return nil, nil }

// removeIfAbandoned removes a temporary file that nobody has open, and reports whether it
// did. Where open files can be removed and not be locked, every temporary file stays.
func removeIfAbandoned(name string) bool {
	return runtime.GOOS == "windows" && os.Remove(name) == nil
}
