//go:build !linux

package main

import (
	"errors"
	"os"
)

type disk struct{}

func mountDisk(string) (*disk, error) { return nil, errors.ErrUnsupported }

func (*disk) limit(int64) error { return errors.ErrUnsupported }

func (*disk) unmount() error { return nil }

func (*killTest) checkMount() error { return errors.ErrUnsupported }

func pause(*os.Process, bool) bool { return false }
