// Package vggtest is what the tests of several packages share: the one TestMain, pictures,
// and the reasons for which tests are skipped. It imports nothing above internal/kernel, so
// that tests within any other package can import it; networks and data sets are in
// vggtest/tiny. Only test files import either.
package vggtest

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/verydeep/vgg/internal/kernel"
)

// CPU is the environment variable that chooses the instruction set.
const CPU = "VGG_CPU"

// Main is the TestMain of a package: it runs the tests of [Suite] and fails if they leave
// goroutines behind. It doesn't return.
func Main(m *testing.M) { goleak.VerifyTestMain(Suite(m)) }

// Suite returns m's tests, to be run on the instruction set that VGG_CPU names, or on the
// best of this machine. It is for a TestMain that does more than [Main]. A VGG_CPU that this
// machine can't run ends the process with exit code 2.
func Suite(m *testing.M) interface{ Run() int } { return suite{m} }

type suite struct{ *testing.M }

func (s suite) Run() int {
	name := os.Getenv(CPU)
	if err := kernel.Use(name); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", CPU, err)
		return 2
	}
	code := s.M.Run()
	if err := removeFolders(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if got := kernel.Current().Name(); code == 0 && name != "" && got != name {
		fmt.Fprintf(os.Stderr, "%s: the tests began on %s and ended on %s\n", CPU, name, got)
		code = 1
	}
	if err := logCPU(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return code
}

// logCPU makes VGG_CPU part of what the go command's cache of test results knows of. The
// go command knows the variables that tests read, by a log, but not those read before.
func logCPU() (err error) {
	f := flag.Lookup("test.testlogfile")
	if f == nil || f.Value.String() == "" {
		return nil
	}
	log, err := os.OpenFile(f.Value.String(), os.O_APPEND|os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no test has run, as with -list
	}
	if err != nil {
		return err
	}
	defer func() {
		if e := log.Close(); err == nil {
			err = e
		}
	}()
	_, err = fmt.Fprintln(log, "getenv", CPU)
	return err
}
