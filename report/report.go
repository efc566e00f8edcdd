// Package report presents results to people: text tables, pages of HTML, and pictures of
// training curves, boxes and heat maps.
//
// It takes plain values, never a network or a run, so that a result read from a file is
// reported like one just computed. Errors are fractions in values and per cent in reports.
package report
