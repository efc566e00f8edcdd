package pickle

import (
	"bufio"
	"io"
)

// maxLength is the most bytes that a pickle may have.
const maxLength = 16 << 20

const (
	maxNameLength = 1 << 10 // of a module, a class, a function or a number in digits

	// The memory that a pickle's values may take, in bytes: memorySlack, memoryRatio times
	// the first memoryFirst bytes of the pickle, and longRatio times the others. A module of
	// many small parts takes 24 bytes for each of its pickle.
	memorySlack, memoryRatio, memoryFirst, longRatio = 64 << 10, 40, 1 << 20, 8

	// maxStack is the most values on the stack. Picklers write long lists in parts of a
	// thousand.
	maxStack = 1 << 20
)

// allowance returns the memory that the values of a pickle's first bytes may take.
func allowance(at int64) int64 {
	return memorySlack + memoryRatio*min(at, memoryFirst) + longRatio*max(0, at-memoryFirst)
}

// machine carries out a pickle.
type machine struct {
	in      *bufio.Reader
	at      int64 // bytes read
	size    int64 // bytes there are
	spent   int64 // bytes allocated for values, about
	stack   []any
	marks   []int // lengths of stack
	memo    []any
	library Library
}

// Load reads the pickle that r begins with, of at most size bytes. It returns the
// pickle's value and its length. Errors are those of r and of the library, and
// *FormatErrors.
func Load(r io.Reader, size int64, library Library) (value any, length int64, err error) {
	size = min(size, maxLength)
	m := &machine{in: bufio.NewReader(io.LimitReader(r, size)), size: size, library: library}
	for {
		at := m.at
		op, err := m.byte()
		if err == nil && op == opStop {
			value, err = m.pop()
			return value, m.at, placed(err, at)
		}
		if err == nil {
			err = m.step(op)
		}
		if err == nil && m.spent > allowance(m.at) {
			err = Errorf("more values than its length allows")
		}
		if err != nil {
			return nil, m.at, placed(err, at)
		}
	}
}

// placed notes in a FormatError the place of its opcode.
func placed(err error, at int64) error {
	if e, ok := err.(*FormatError); ok {
		e.Offset = at
	}
	return err
}

// step carries out an opcode.
func (m *machine) step(op byte) error {
	switch op {
	case opProto:
		version, err := m.byte()
		if err == nil && version > 5 {
			err = Errorf("protocol %d, want at most 5", version)
		}
		return err
	case opFrame:
		_, err := m.bytes(8)
		return err

	case opMark:
		m.marks = append(m.marks, len(m.stack))
		m.spent += 8
		return nil
	case opPop:
		if n := len(m.marks); n > 0 && m.marks[n-1] == len(m.stack) {
			m.marks = m.marks[:n-1]
			return nil
		}
		_, err := m.pop()
		return err
	case opPopMark:
		_, err := m.popToMark()
		return err
	case opDup:
		v, err := m.top()
		return m.push(v, 0, err)

	case opPut, opBinPut, opLongBinPut:
		n, err := m.memoIndex(op == opPut, op == opBinPut)
		return m.put(n, err)
	case opMemoize:
		return m.put(int64(len(m.memo)), nil)
	case opGet, opBinGet, opLongBinGet:
		n, err := m.memoIndex(op == opGet, op == opBinGet)
		return m.get(n, err)
	}
	if known, err := m.number(op); known {
		return err
	}
	if known, err := m.text(op); known {
		return err
	}
	if known, err := m.container(op); known {
		return err
	}
	if known, err := m.object(op); known {
		return err
	}
	return Errorf("opcode %#02x", op)
}

// memoIndex reads the index of a memo entry: in digits, in one byte, or else in four.
func (m *machine) memoIndex(digits, one bool) (int64, error) {
	switch {
	case digits:
		return m.decimal()
	case one:
		return m.uint(1)
	}
	return m.uint(4)
}

// put keeps the value on top of the stack in the memo.
func (m *machine) put(n int64, err error) error {
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	// Picklers count memo entries up, and each takes more than a byte.
	if n < 0 || n > m.at {
		return Errorf("memo entry %d", n)
	}
	for int64(len(m.memo)) <= n {
		m.memo = append(m.memo, Opaque{})
		m.spent += 16
	}
	m.memo[n] = v
	return nil
}

// get pushes a value of the memo.
func (m *machine) get(n int64, err error) error {
	if err == nil && (n < 0 || n >= int64(len(m.memo))) {
		err = Errorf("no memo entry %d", n)
	}
	if err != nil {
		return err
	}
	return m.push(m.memo[n], 0, nil)
}

// push puts v on the stack, unless there is an error. Making v took that many bytes.
func (m *machine) push(v any, bytes int, err error) error {
	if err != nil {
		return err
	}
	if len(m.stack) == maxStack {
		return Errorf("more than %d values on the stack", maxStack)
	}
	m.spent += 16 + int64(bytes)
	m.stack = append(m.stack, v)
	return nil
}

// pop takes a value from the stack.
func (m *machine) pop() (any, error) {
	v, err := m.top()
	if err == nil {
		m.stack = m.stack[:len(m.stack)-1]
	}
	return v, err
}

// popN takes n values from the stack. They are valid until the next push.
func (m *machine) popN(n int) ([]any, error) {
	if len(m.stack)-n < m.floor() {
		return nil, underflow()
	}
	values := m.stack[len(m.stack)-n:]
	m.stack = m.stack[:len(m.stack)-n]
	return values, nil
}

// popToMark takes the values above the last mark from the stack, and the mark. They are
// valid until the next push.
func (m *machine) popToMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, underflow()
	}
	values, err := m.popN(len(m.stack) - m.floor())
	m.marks = m.marks[:len(m.marks)-1]
	return values, err
}

// top returns the value on top of the stack.
func (m *machine) top() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, underflow()
	}
	return m.stack[len(m.stack)-1], nil
}

// floor is the length of the stack under the last mark, below which nothing is popped.
func (m *machine) floor() int {
	if n := len(m.marks); n > 0 {
		return m.marks[n-1]
	}
	return 0
}

func underflow() error { return Errorf("a value is missing on the stack") }
