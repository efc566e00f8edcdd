package wholefile

import (
	"errors"
	"syscall"
)

// Exhausted reports whether a file couldn't be opened because the process or the system has no
// more open files or no memory for one. Nothing is wrong with the file then: what reads many
// files stops, and doesn't count it as unreadable. An error of the disk (EIO) is the file's
// own.
func Exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}
