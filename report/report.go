// Package report turns results into what people read: aligned text tables and
// the picture of a training curve.
//
// It takes plain values, never a network or a run, so that a result read back
// from a file is reported like one just computed. Errors come in as fractions
// and leave as per cent.
package report
