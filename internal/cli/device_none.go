//go:build !accel

package cli

import "errors"

// takeDevice is for programs that are built with accelerators.
func takeDevice(*environment, deviceFlags, int) (device, error) {
	return nil, errors.New("this program is built without accelerators: build it by go install -tags accel github.com/verydeep/vgg/cmd/vgg@latest")
}
