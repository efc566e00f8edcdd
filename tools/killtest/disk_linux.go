package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// disk is a file system in memory.
type disk struct{ dir string }

// mountDisk mounts one at dir.
func mountDisk(dir string) (*disk, error) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	return &disk{dir}, nil
}

// limit leaves so many bytes free, or plenty if they are negative.
func (d *disk) limit(free int64) error {
	size := int64(64 << 20)
	if free >= 0 {
		var s syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &s); err != nil {
			return err
		}
		size = int64(s.Blocks-s.Bfree)*s.Bsize + max(4096, free)
	}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		return fmt.Errorf("remount with %d bytes: %w", size, err)
	}
	return nil
}

// unmount removes it with all files.
func (d *disk) unmount() error {
	if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return nil
}

// checkMount tells whether file systems may be mounted.
func (k *killTest) checkMount() error {
	dir := filepath.Join(k.dir, "mount")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	d, err := mountDisk(dir)
	if err != nil {
		return err
	}
	k.mountable = true
	return d.unmount()
}

// pause stops a process, or lets it go on.
func pause(p *os.Process, stop bool) bool {
	if stop {
		return p.Signal(syscall.SIGSTOP) == nil
	}
	return p.Signal(syscall.SIGCONT) == nil
}
