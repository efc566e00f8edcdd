//go:build !accel

package cli

// hasAccelerators says whether this program can use accelerators.
const hasAccelerators = false

// describePlugin leaves a plugin undescribed.
func describePlugin(*pluginResult) error { return nil }
