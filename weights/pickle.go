package weights

import (
	"bufio"
	"encoding/binary"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A pickle is a program for a machine with a stack; Python's runs it by importing and
// calling what it names. This one knows a list of functions (call), all of them written
// here, and imports nothing. The opcodes are those of Python's pickletools, of protocols
// 0 to 5.
//
// The values of a pickle are nil, bool, int64, float64, string, *pickledTuple,
// *pickledList, *pickledDict, pickledGlobal, *pickledObject, *torchTensor, *torchStorage
// and opaque.

type (
	pickledTuple struct{ items []any }

	// pickledList is a list or a set.
	pickledList struct{ items []any }

	// pickledDict has the keys in the order in which they were set.
	pickledDict struct{ keys, values []any }

	// pickledGlobal names a class or a function.
	pickledGlobal struct{ module, name string }

	// pickledObject is an instance of a class that isn't known: its attributes, and
	// its items if it is a kind of dict or list.
	pickledObject struct {
		class      pickledGlobal
		attributes *pickledDict
		items      pickledDict
		list       pickledList
	}

	// opaque is a value that no weights depend on.
	opaque struct{}
)

func (g pickledGlobal) String() string { return g.module + "." + g.name }

// get returns the value of a key; the last counts, if it was set more than once.
func (d *pickledDict) get(key string) any {
	if d != nil {
		for i := len(d.keys) - 1; i >= 0; i-- {
			if d.keys[i] == key {
				return d.values[i]
			}
		}
	}
	return nil
}

const (
	maxPickle     = 16 << 20 // bytes
	maxGlobalName = 1 << 10

	// What a pickle may make of memory: so much, and so many times its own bytes.
	pickleSlack, pickleRatio = 64 << 10, 40
)

// unpickler is the machine.
type unpickler struct {
	in    *bufio.Reader
	at    int64 // bytes read
	size  int64 // bytes there are
	spent int64 // bytes allocated for values, about
	stack []any
	marks []int // lengths of stack
	memo  []any
	// persistent makes the value of a persistent id; nil if there are none.
	persistent func(id any) (any, error)
}

// unpickle reads the pickle that r begins with, of at most size bytes, and returns its
// value and its length. Errors lack the file's name.
func unpickle(r io.Reader, size int64, persistent func(id any) (any, error)) (value any, length int64, err error) {
	size = min(size, maxPickle)
	u := &unpickler{in: bufio.NewReader(io.LimitReader(r, size)), size: size, persistent: persistent}
	for {
		at := u.at
		op, err := u.byte()
		if err == nil && op == '.' {
			value, err = u.pop()
			return value, u.at, err
		}
		if err == nil {
			err = u.step(op)
		}
		if err == nil && u.spent > pickleSlack+pickleRatio*u.at {
			err = malformed("", "more values than its length allows")
		}
		if err != nil {
			if fe, ok := err.(*FormatError); ok {
				fe.Reason = "pickle, byte " + strconv.FormatInt(at, 10) + ": " + fe.Reason
			}
			return nil, u.at, err
		}
	}
}

func (u *unpickler) step(op byte) error {
	switch op {
	case '\x80': // PROTO
		v, err := u.byte()
		if err == nil && v > 5 {
			err = malformed("", "protocol %d, want at most 5", v)
		}
		return err
	case '\x95': // FRAME
		_, err := u.bytes(8)
		return err

	// The stack.
	case '(': // MARK
		u.marks = append(u.marks, len(u.stack))
		u.spent += 8
		return nil
	case '0': // POP
		if n := len(u.marks); n > 0 && u.marks[n-1] == len(u.stack) {
			u.marks = u.marks[:n-1]
			return nil
		}
		_, err := u.pop()
		return err
	case '1': // POP_MARK
		_, err := u.popMark()
		return err
	case '2': // DUP
		v, err := u.top()
		if err != nil {
			return err
		}
		return u.push(v, 0)

	// The memo.
	case 'p': // PUT
		n, err := u.decimal()
		return u.put(n, err)
	case 'q': // BINPUT
		n, err := u.uint(1)
		return u.put(n, err)
	case 'r': // LONG_BINPUT
		n, err := u.uint(4)
		return u.put(n, err)
	case '\x94': // MEMOIZE
		return u.put(int64(len(u.memo)), nil)
	case 'g': // GET
		n, err := u.decimal()
		return u.get(n, err)
	case 'h': // BINGET
		n, err := u.uint(1)
		return u.get(n, err)
	case 'j': // LONG_BINGET
		n, err := u.uint(4)
		return u.get(n, err)
	}
	if ok, err := u.scalar(op); ok {
		return err
	}
	if ok, err := u.container(op); ok {
		return err
	}
	return u.object(op)
}

// scalar carries out the opcodes that push a number, a string or None.
func (u *unpickler) scalar(op byte) (bool, error) {
	switch op {
	case 'N': // NONE
		return true, u.push(nil, 0)
	case '\x88': // NEWTRUE
		return true, u.push(true, 0)
	case '\x89': // NEWFALSE
		return true, u.push(false, 0)
	case 'K', 'M': // BININT1, BININT2
		width := 1
		if op == 'M' {
			width = 2
		}
		n, err := u.uint(width)
		return true, u.pushed(n, 8, err)
	case 'J': // BININT
		n, err := u.uint(4)
		return true, u.pushed(int64(int32(n)), 8, err)
	case 'I', 'L': // INT, LONG
		s, err := u.line(maxGlobalName)
		if err != nil {
			return true, err
		}
		if op == 'I' && (s == "00" || s == "01") {
			return true, u.push(s == "01", 0)
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(s, "L"), 10, 64)
		if err != nil {
			return true, u.push(opaque{}, 0) // no length or number of weights
		}
		return true, u.push(n, 8)
	case '\x8a', '\x8b': // LONG1, LONG4: little-endian two's complement
		width := 1
		if op == '\x8b' {
			width = 4
		}
		n, err := u.uint(width)
		if err != nil {
			return true, err
		}
		b, err := u.bytes(n)
		if err != nil {
			return true, err
		}
		if len(b) > 8 {
			return true, u.push(opaque{}, 0)
		}
		v := int64(0)
		for i := range 8 {
			switch {
			case i < len(b):
				v |= int64(b[i]) << (8 * i)
			case len(b) > 0 && b[len(b)-1] >= 0x80:
				v |= 0xff << (8 * i)
			}
		}
		return true, u.push(v, 8)
	case 'F': // FLOAT
		s, err := u.line(maxGlobalName)
		if err != nil {
			return true, err
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			err = malformed("", "float %s", display(s))
		}
		return true, u.pushed(f, 8, err)
	case 'G': // BINFLOAT, big-endian
		b, err := u.bytes(8)
		if err != nil {
			return true, err
		}
		return true, u.push(math.Float64frombits(binary.BigEndian.Uint64(b)), 8)

	case 'S', 'V': // STRING, UNICODE
		s, err := u.line(maxPickle)
		if n := len(s); op == 'S' && n > 1 && (s[0] == '\'' || s[0] == '"') && s[n-1] == s[0] {
			s = s[1 : n-1]
		}
		return true, u.pushed(s, 16, err)
	case 'U', '\x8c', 'T', 'X', '\x8d': // (SHORT_)BINSTRING, (SHORT_)BINUNICODE(8)
		s, err := u.counted(op, "U\x8c", "TX")
		if err == nil && op != 'U' && op != 'T' && !utf8.Valid(s) {
			err = malformed("", "string is not UTF-8")
		}
		return true, u.pushed(string(s), 16+len(s), err)
	case 'C', 'B', '\x8e', '\x96': // (SHORT_)BINBYTES(8), BYTEARRAY8
		_, err := u.counted(op, "C", "B")
		return true, u.pushed(opaque{}, 0, err)
	}
	return false, nil
}

// container carries out the opcodes that make and fill tuples, lists, dicts and sets.
func (u *unpickler) container(op byte) (bool, error) {
	switch op {
	case ')', '\x85', '\x86', '\x87': // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3
		n := 0
		if op != ')' {
			n = int(op - '\x84')
		}
		if len(u.stack)-n < u.floor() {
			return true, u.underflow()
		}
		t := &pickledTuple{append([]any(nil), u.stack[len(u.stack)-n:]...)}
		u.stack = u.stack[:len(u.stack)-n]
		return true, u.push(t, 24+16*n)
	case 't', 'l', 'd', '\x91': // TUPLE, LIST, DICT, FROZENSET
		items, err := u.popMark()
		if err != nil {
			return true, err
		}
		size := 48 + 16*len(items)
		switch op {
		case 't':
			return true, u.push(&pickledTuple{items}, size)
		case 'd':
			d := &pickledDict{}
			return true, u.pushed(d, size, d.set(items))
		}
		return true, u.push(&pickledList{items}, size)
	case ']', '\x8f': // EMPTY_LIST, EMPTY_SET
		return true, u.push(&pickledList{}, 24)
	case '}': // EMPTY_DICT
		return true, u.push(&pickledDict{}, 48)

	case 'a', 'e', '\x90', 's', 'u': // APPEND, APPENDS, ADDITEMS, SETITEM, SETITEMS
		return true, u.fill(op)
	}
	return false, nil
}

// fill carries out the opcodes that put values from the stack into the container under
// them.
func (u *unpickler) fill(op byte) error {
	one, n := op == 'a' || op == 's', 1
	if op == 's' || op == 'u' {
		n = 2
	}
	items, err := u.arguments(one, n)
	if err != nil {
		return err
	}
	u.spent += 16 * int64(len(items))
	into, err := u.top()
	if err != nil {
		return err
	}
	switch v := into.(type) {
	case opaque:
		return nil
	case *pickledList:
		if n == 1 {
			v.items = append(v.items, items...)
			return nil
		}
	case *pickledDict:
		if n == 2 {
			return v.set(items)
		}
	case *pickledObject:
		if n == 2 {
			return v.items.set(items)
		}
		v.list.items = append(v.list.items, items...)
		return nil
	}
	return malformed("", "items put into no list or dict")
}

// set sets items, which are keys and values by turns.
func (d *pickledDict) set(items []any) error {
	if len(items)%2 != 0 {
		return malformed("", "key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		d.keys = append(d.keys, items[i])
		d.values = append(d.values, items[i+1])
	}
	return nil
}

// arguments pops n values, or all down to the last mark. They are valid until the next
// push.
func (u *unpickler) arguments(one bool, n int) ([]any, error) {
	if !one {
		floor := u.floor()
		if len(u.marks) == 0 {
			return nil, u.underflow()
		}
		items := u.stack[floor:]
		u.stack = u.stack[:floor]
		u.marks = u.marks[:len(u.marks)-1]
		return items, nil
	}
	if len(u.stack)-n < u.floor() {
		return nil, u.underflow()
	}
	items := u.stack[len(u.stack)-n:]
	u.stack = u.stack[:len(u.stack)-n]
	return items, nil
}

// popMark pops all down to the last mark, and that.
func (u *unpickler) popMark() ([]any, error) {
	items, err := u.arguments(false, 0)
	return append([]any(nil), items...), err
}

// floor is the length under which the stack isn't to be popped: the last mark's.
func (u *unpickler) floor() int {
	if n := len(u.marks); n > 0 {
		return u.marks[n-1]
	}
	return 0
}

func (u *unpickler) underflow() error { return malformed("", "a value is missing on the stack") }

func (u *unpickler) pop() (any, error) {
	v, err := u.top()
	if err == nil {
		u.stack = u.stack[:len(u.stack)-1]
	}
	return v, err
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, u.underflow()
	}
	return u.stack[len(u.stack)-1], nil
}

// push puts on the stack a value whose making took so many bytes.
func (u *unpickler) push(v any, bytes int) error {
	u.spent += 16 + int64(bytes)
	u.stack = append(u.stack, v)
	return nil
}

func (u *unpickler) pushed(v any, bytes int, err error) error {
	if err != nil {
		return err
	}
	return u.push(v, bytes)
}

func (u *unpickler) put(n int64, err error) error {
	if err != nil {
		return err
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	// Picklers count memo entries up, and each takes more than a byte.
	if n < 0 || n > u.at {
		return malformed("", "memo entry %d", n)
	}
	for int64(len(u.memo)) <= n {
		u.memo = append(u.memo, opaque{})
		u.spent += 16
	}
	u.memo[n] = v
	return nil
}

func (u *unpickler) get(n int64, err error) error {
	if err != nil {
		return err
	}
	if n < 0 || n >= int64(len(u.memo)) {
		return malformed("", "no memo entry %d", n)
	}
	return u.push(u.memo[n], 0)
}
