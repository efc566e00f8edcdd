// Package pickle reads Python's pickles without running anything of them.
//
// A pickle is a program for a machine with a stack; Python runs it by importing and
// calling what it names. The machine of this package imports nothing. It makes plain
// values, and carries out the calls of a fixed list of functions, all written here or in
// the [Library] of its user. A call of any other function is an error that names it.
//
// The opcodes are those of Python's pickletools, of protocols 0 to 5. Any pickle is met
// without a panic, in memory that is bounded by a small multiple of its length.
package pickle

import (
	"fmt"
	"strconv"
	"strings"
)

// The values of a pickle are nil, bool, int64, float64, string, the types below, and what
// a Library makes.
type (
	// Tuple is a tuple.
	Tuple struct{ Items []any }

	// List is a list or a set.
	List struct{ Items []any }

	// Dict is a dict. Keys[i] has the value Values[i]. The keys are in the order in which
	// they were set; of one that was set more than once, the last value counts.
	Dict struct{ Keys, Values []any }

	// Global names a class or a function.
	Global struct{ Module, Name string }

	// Object is an instance of a class that isn't known: its attributes, nil if it has
	// none, and what was put into it if it is a kind of dict or list.
	Object struct {
		Class      Global
		Attributes *Dict
		Dict       Dict
		List       List
	}

	// Opaque is a value that can't be looked into, as of bytes or a date.
	Opaque struct{}
)

// String returns the name as Python writes it: module.name.
func (g Global) String() string { return g.Module + "." + g.Name }

// Get returns the value of a key, nil if d has no such key or is nil.
func (d *Dict) Get(key string) any {
	if d != nil {
		for i := len(d.Keys) - 1; i >= 0; i-- {
			if d.Keys[i] == key {
				return d.Values[i]
			}
		}
	}
	return nil
}

// setItems sets items, which are keys and values by turns.
func (d *Dict) setItems(items []any) error {
	if len(items)%2 != 0 {
		return Errorf("key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		d.Keys = append(d.Keys, items[i])
		d.Values = append(d.Values, items[i+1])
	}
	return nil
}

// Items returns the elements of a tuple, a list or a set, nil of any other value.
func Items(v any) []any {
	switch v := v.(type) {
	case *Tuple:
		return v.Items
	case *List:
		return v.Items
	}
	return nil
}

// Library makes the values of a program's own classes and functions. Its functions may be
// nil. Errors that they make by [Errorf] get the place in the pickle.
type Library struct {
	// Persistent returns the value of a persistent id: of what lies outside the pickle.
	Persistent func(id any) (any, error)
	// Call returns the value of a call. known is false of a function that isn't the
	// library's.
	Call func(function Global, args []any) (v any, known bool, err error)
	// New returns a new instance of a class. known is false of a class that isn't the
	// library's.
	New func(class Global, args []any) (v any, known bool)
}

// Stateful is a value of a Library whose state a pickle can set.
type Stateful interface{ SetState(state any) error }

// Sized is a value of a Library that takes Size bytes of memory, about.
type Sized interface{ Size() int }

// FormatError says what is wrong in a pickle, and in the opcode at which byte.
type FormatError struct {
	Offset int64
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("pickle, byte %d: %s", e.Offset, e.Reason)
}

// Errorf returns a *FormatError of the opcode that is being carried out.
func Errorf(format string, args ...any) error {
	return &FormatError{Reason: fmt.Sprintf(format, args...)}
}

// Refuse returns the error of a call of a function that is no part of reading values.
func Refuse(function Global) error {
	return Errorf("wants to run %s, which no reading of weights needs: refused, and nothing was run", printable(function.String()))
}

// printable returns a text in a form that is fit for a line: in quotes, unless it has
// printable characters alone.
func printable(s string) string {
	const most = 120
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	if q := strconv.Quote(s); s == "" || q[1:len(q)-1] != s {
		return q
	}
	return s
}
