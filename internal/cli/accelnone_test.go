//go:build !accel

package cli_test

// plugin is for programs that are built with accelerators.
const plugin = ""

// hasAccelerators says whether the program can use accelerators.
const hasAccelerators = false
