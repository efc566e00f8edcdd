// Package mpi connects ranks in several processes by an MPI library that the machine has: Open
// MPI 4 and 5, or MPICH and the libraries of its ABI (Intel MPI, MVAPICH, Cray). The library is
// loaded when a group is opened; nothing of MPI is needed to build.
//
// Loading a library makes a program dynamically linked. So the package does its work only in
// programs built with -tags mpi; [Open] says so in others.
//
// Sums have the bits of [comm.Local]: each rank receives its slice of every part, adds in the
// order of [comm.Tree], and gives the sums to all. The library's own reductions, whose order is
// not fixed, are never used.
package mpi

import (
	"os"
	"strconv"
)

// Options say how a group is opened.
type Options struct {
	// Library is the file of the MPI library. Empty: the usual names are tried, those of the
	// launcher's library first.
	Library string
}

// Launched reports whether a launcher started this process as one of several ranks, by the
// variables that mpirun, mpiexec and srun set, and as how many.
func Launched() (size int, ok bool) {
	for _, name := range []string{"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS"} {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
			if name == "SLURM_NTASKS" && os.Getenv("SLURM_STEP_ID") == "" {
				continue // a batch script, not a task that srun started
			}
			return n, true
		}
	}
	return 0, false
}
