//go:build !accel

package cli

import (
	"errors"
	"fmt"

	"github.com/verydeep/vgg/accel/plugins"
)

// takeDevice is for programs that are built with accelerators.
func takeDevice(e *environment, f deviceFlags, _, _ int) (device, error) {
	_, err := plugins.Find(f.Device, e.getenv)
	missing, none := errors.AsType[*plugins.NotFoundError](err)
	switch {
	case none: // both at once, or it would be missing then
		return nil, fmt.Errorf("this program is built without accelerators: build one by %s; and there is %w", buildAccel, missing)
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("this program is built without accelerators: build one by %s", buildAccel)
}
