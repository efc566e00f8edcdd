package accel

import (
	"errors"
	"slices"
	"strings"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/nn"
)

// deviceError is an error of a plugin with what to do about it.
type deviceError struct {
	err    error
	advice string
	lost   bool // it is [nn.ErrDevice] too
}

func (e *deviceError) Error() string {
	text := e.err.Error()
	if !strings.HasPrefix(text, "accel: ") {
		text = "accel: " + text
	}
	return text + ": " + e.advice
}

func (e *deviceError) Unwrap() []error {
	if e.lost {
		return []error{e.err, nn.ErrDevice}
	}
	return []error{e.err}
}

// lostCodes are those of errors after which a device can't be used. Compiling has some of them
// for other reasons.
var lostCodes = []pjrt.Code{pjrt.Unavailable, pjrt.Internal, pjrt.DataLoss, pjrt.Aborted}

// failed adds to an error of a plugin what to do about it. What leads to a plugin from outside
// this package ends with it.
func failed(err error) error {
	if _, done := errors.AsType[*deviceError](err); done {
		return err
	}
	e, ok := errors.AsType[*pjrt.Error](err)
	switch {
	case ok && e.Code == pjrt.ResourceExhausted:
		return &deviceError{err, "the device has no memory left: a smaller batch (or micro-batch), scale or network takes less, and so may --precision bf16. Other programs may hold memory of the device, too", false}
	case ok && slices.Contains(lostCodes, e.Code) && !strings.HasSuffix(e.Function, "Compile"):
		return &deviceError{err, "the device or its driver failed; this process can't use it any more. Files that are complete stay, and what goes on from them (vgg train --resume, --out of an evaluation) does in a new process", true}
	}
	return err
}
