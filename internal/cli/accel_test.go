//go:build accel

package cli_test

import "os"

// plugin is the PJRT plugin that tests compute by.
var plugin = os.Getenv("VGG_PJRT_PLUGIN")

// hasAccelerators says whether the program can use accelerators.
const hasAccelerators = true
