// Package mpi connects ranks in several processes by an MPI library that the machine has: Open
// MPI 4 and 5, MPICH and the libraries of its ABI (Intel MPI, MVAPICH, Cray), or one of MPI 5's
// standard ABI. The library is loaded when a group is opened; nothing of MPI is needed to build.
//
// Loading a library makes a program dynamically linked. So the package does its work only in
// programs built with -tags mpi; [Open] says so in others.
//
// Sums have the bits of [comm.Local]: each rank receives its slice of every part, adds in the
// order of [comm.Tree], and gives the sums to all. The library's own reductions, whose order is
// not fixed, are never used.
package mpi

import "github.com/verydeep/vgg/comm/launch"

// Options say how a group is opened.
type Options struct {
	// Library is the file of the MPI library. Empty: the usual names are tried, those of the
	// launcher's library first.
	Library string
}

// Launched reports whether a launcher started this process as one of several ranks, and as how
// many; see [launch.Found].
func Launched() (size int, ok bool) {
	p, ok := launch.Found()
	return p.Size, ok
}
