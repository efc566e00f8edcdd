package accel

import (
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/accel/pjrt"
)

// settings are a client's options for a number of devices. A plugin refuses names that it
// doesn't know, so they go by the plugin's name.
func settings(plugin string, count int) pjrt.Settings {
	if name := filepath.Base(plugin); strings.Contains(name, "cpu") {
		return pjrt.Settings{"cpu_device_count": count}
	}
	return nil
}
