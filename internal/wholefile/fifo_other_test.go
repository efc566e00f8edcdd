//go:build !unix

package wholefile

import "errors"

func mkfifo(string) error { return errors.ErrUnsupported }
