//go:build !unix

package main

import "time"

var began = time.Now()

// processorTime is the wall-clock time, on systems that don't tell the process's.
func processorTime() time.Duration { return time.Since(began) }
