//go:build !unix

package main

import "time"

var began = time.Now()

// processorTime is the time on the clock where the system doesn't tell that of
// the process.
func processorTime() time.Duration { return time.Since(began) }
