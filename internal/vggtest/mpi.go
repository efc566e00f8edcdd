//go:build mpi

package vggtest

import (
	"os"
	"path/filepath"
)

// MPIPrefixes is an environment variable that lists folders, each with an MPI in bin and lib, to
// test besides those of the distribution.
const MPIPrefixes = "VGG_TEST_MPI_PREFIXES"

// MPI is a library of MPI, with the program that starts its ranks.
type MPI struct {
	Name, Program string
	Arguments     []string // of the program
	Library       string   // its file
}

// PrefixedMPI lists the libraries in the folders of [MPIPrefixes]: of Open MPI, of MPICH by its own
// ABI, and of the standard ABI.
func PrefixedMPI() []MPI {
	var all []MPI
	for _, prefix := range filepath.SplitList(os.Getenv(MPIPrefixes)) {
		for _, l := range []struct {
			name      string
			arguments []string
		}{{"libmpi.so.40", []string{"--oversubscribe", "--allow-run-as-root"}}, {"libmpi.so.12", nil}, {"libmpi_abi.so.1", nil}} {
			library := filepath.Join(prefix, "lib", l.name)
			if _, err := os.Stat(library); err == nil {
				all = append(all, MPI{l.name + " of " + filepath.Base(prefix), filepath.Join(prefix, "bin", "mpiexec"), l.arguments, library})
			}
		}
	}
	return all
}
