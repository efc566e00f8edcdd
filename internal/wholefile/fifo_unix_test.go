//go:build unix

package wholefile

import "syscall"

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o666) }
