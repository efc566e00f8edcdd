package accel

import (
	"fmt"

	"github.com/verydeep/vgg/accel/pjrt"
)

// work is what a program is part of, for the memory that it must find.
type work struct {
	held   int64 // bytes that the work holds on each device beside the program
	own    int64 // bytes of Device.holds that are the program's arguments, or in held
	most   int64 // that program and held may take; 0: what the device has
	images int   // of the program; 0: it is of parameters alone
}

// TooLargeError is a program that takes more memory than the device has, or than it may take.
type TooLargeError struct {
	Program string
	Need    int64 // bytes, with what the same work holds on the device meanwhile
	Have    int64 // bytes that it can have
	Held    int64 // bytes of the device that other networks and trainings hold
	Bound   bool  // Have is the caller's bound, else what the device has
	Images  int   // that the program computes with at a time; 0: it is of parameters alone

	precision Precision
}

func (e *TooLargeError) Error() string {
	text := fmt.Sprintf("accel: %s: %s of each device's memory are needed, and ", e.Program, above(e.Need))
	switch {
	case e.Bound:
		text += fmt.Sprintf("at most %s may be taken (--memory)", below(e.Have))
	case e.Held > 0:
		text += fmt.Sprintf("programs can have %s, of which other networks of this process hold %s", below(e.Have+e.Held), above(e.Held))
	default:
		text += fmt.Sprintf("programs can have %s", below(e.Have))
	}
	return text + ": " + e.advice()
}

// advice says what takes less memory.
func (e *TooLargeError) advice() string {
	var less string
	switch {
	case e.Images == 0:
		less = "fewer devices (--ranks) or a smaller network (--width) take less"
	case e.Images > 1:
		less = "a smaller batch takes less"
	default:
		less = "it is of one image already; a smaller scale or input, or a smaller network (--width) takes less"
		if e.precision != BF16 {
			less += ", and so may --precision bf16"
		}
	}
	if e.Bound {
		return less + ". Or give more"
	}
	return less + ". Or use a device with more memory"
}

// above is a number of bytes, rounded up.
func above(n int64) string { return below(n + 1<<20 - 1) }

// below is a number of bytes, rounded down.
func below(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// fits is an error if a program needs more memory than there is for it, by the compiler's own
// figures.
func (d *Device) fits(e *pjrt.Executable, w work) error {
	need, err := e.Memory()
	if err != nil {
		return nil // the plugin doesn't say
	}
	large := &TooLargeError{Program: e.Program.Name, Need: need.Total() + w.held, Images: w.images, precision: d.precision}
	if w.most > 0 && large.Need > w.most {
		large.Have, large.Bound = w.most, true
		return large
	}
	others := max(0, d.holds.Load()-w.own)
	if d.limit > 0 && large.Need > d.limit-others {
		large.Have, large.Held = d.limit-others, others
		return large
	}
	return nil
}
