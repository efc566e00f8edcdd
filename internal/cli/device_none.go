//go:build !accel

package cli

import (
	"fmt"

	"github.com/verydeep/vgg/accel/plugins"
)

// takeDevice is for programs that are built with accelerators.
func takeDevice(e *environment, f deviceFlags, _, _ int) (device, error) {
	if _, err := plugins.Find(f.Device, e.getenv); err != nil {
		return nil, err // it would be missing then, too
	}
	return nil, fmt.Errorf("this program is built without accelerators: build one by %s", buildAccel)
}
