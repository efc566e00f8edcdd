package pjrt

import (
	"errors"
	"fmt"
	"unsafe"
)

// Code says what kind of error a plugin reports. The numbers are absl's. errors.Is finds the
// code of an [Error]: errors.Is(err, pjrt.ResourceExhausted).
type Code int

// The codes of absl::StatusCode.
const (
	Cancelled          Code = 1
	Unknown            Code = 2
	InvalidArgument    Code = 3
	DeadlineExceeded   Code = 4
	NotFound           Code = 5
	AlreadyExists      Code = 6
	PermissionDenied   Code = 7
	ResourceExhausted  Code = 8 // out of memory
	FailedPrecondition Code = 9
	Aborted            Code = 10
	OutOfRange         Code = 11
	Unimplemented      Code = 12
	Internal           Code = 13
	Unavailable        Code = 14 // among others, a device that is lost
	DataLoss           Code = 15
	Unauthenticated    Code = 16
)

var codeTexts = [...]string{
	Cancelled: "cancelled", Unknown: "unknown error", InvalidArgument: "invalid argument", DeadlineExceeded: "deadline exceeded",
	NotFound: "not found", AlreadyExists: "already exists", PermissionDenied: "permission denied", ResourceExhausted: "out of memory",
	FailedPrecondition: "failed precondition", Aborted: "aborted", OutOfRange: "out of range", Unimplemented: "not implemented",
	Internal: "internal error", Unavailable: "unavailable", DataLoss: "data loss", Unauthenticated: "unauthenticated",
}

// Error implements error, so that errors.Is takes a code.
func (c Code) Error() string {
	if c > 0 && int(c) < len(codeTexts) {
		return codeTexts[c]
	}
	return fmt.Sprintf("error %d", int(c))
}

// Error is an error that a plugin reports.
type Error struct {
	Code     Code
	Function string // the function of the C API that was called
	Message  string // the plugin's own words
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.Function, e.Code, e.Message)
}

// Unwrap returns the code.
func (e *Error) Unwrap() error { return e.Code }

// IsCode reports whether an error is a plugin's with the code.
func IsCode(err error, c Code) bool { return errors.Is(err, c) }

// take makes an error of the plugin's handle, and frees that. These functions return no errors
// of their own, and their structs are as old as the interface.
func (p *Plugin) take(f function, handle uintptr) error {
	e := &Error{Code: Unknown, Function: f.String()}
	text := &textArgs{header: header{size: unsafe.Sizeof(textArgs{})}, in: handle}
	invoke(p.functions[errorMessage], unsafe.Pointer(text))
	e.Message = copyText(text.address, text.size)
	code := &numberArgs{header: header{size: unsafe.Sizeof(numberArgs{})}, in: handle}
	if h := invoke(p.functions[errorGetCode], unsafe.Pointer(code)); h == 0 {
		e.Code = Code(code.number)
	}
	free := &handleArgs{header: header{size: unsafe.Sizeof(handleArgs{})}, handle: handle}
	invoke(p.functions[errorDestroy], unsafe.Pointer(free))
	return e
}
