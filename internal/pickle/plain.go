package pickle

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// number carries out the opcodes that push None, a bool or a number.
func (m *machine) number(op byte) (known bool, err error) {
	switch op {
	case opNone:
		return true, m.push(nil, 0, nil)
	case opNewTrue, opNewFalse:
		return true, m.push(op == opNewTrue, 0, nil)
	case opBinInt1:
		n, err := m.uint(1)
		return true, m.push(n, 8, err)
	case opBinInt2:
		n, err := m.uint(2)
		return true, m.push(n, 8, err)
	case opBinInt:
		n, err := m.uint(4)
		return true, m.push(int64(int32(n)), 8, err)
	case opInt, opLong:
		return true, m.digits(op)
	case opLong1:
		n, err := m.uint(1)
		return true, m.long(n, err)
	case opLong4:
		n, err := m.uint(4)
		return true, m.long(n, err)
	case opFloat:
		s, err := m.line(maxNameLength)
		if err != nil {
			return true, err
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			err = Errorf("float %s", printable(s))
		}
		return true, m.push(f, 8, err)
	case opBinFloat:
		b, err := m.bytes(8)
		if err != nil {
			return true, err
		}
		return true, m.push(math.Float64frombits(binary.BigEndian.Uint64(b)), 8, nil)
	}
	return false, nil
}

// digits pushes a number in decimal digits, or a bool, which INT has as 00 and 01. A
// number that no int64 holds is Opaque: it is no size of anything that fits in memory.
func (m *machine) digits(op byte) error {
	s, err := m.line(maxNameLength)
	if err != nil {
		return err
	}
	if op == opInt && (s == "00" || s == "01") {
		return m.push(s == "01", 0, nil)
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(s, "L"), 10, 64)
	if err != nil {
		return m.push(Opaque{}, 0, nil)
	}
	return m.push(n, 8, nil)
}

// long pushes a number of n bytes in little-endian two's complement; Opaque, if these are
// more than an int64's.
func (m *machine) long(n int64, err error) error {
	if err != nil {
		return err
	}
	b, err := m.bytes(n)
	if err != nil {
		return err
	}
	if len(b) > 8 {
		return m.push(Opaque{}, 0, nil)
	}
	var full [8]byte
	copy(full[:], b)
	if len(b) > 0 && b[len(b)-1] >= 0x80 {
		for i := len(b); i < len(full); i++ {
			full[i] = 0xff
		}
	}
	return m.push(int64(binary.LittleEndian.Uint64(full[:])), 8, nil)
}

// text carries out the opcodes that push a string or bytes. Bytes are Opaque.
func (m *machine) text(op byte) (known bool, err error) {
	switch op {
	case opString, opUnicode:
		s, err := m.line(maxLength)
		if n := len(s); op == opString && n > 1 && (s[0] == '\'' || s[0] == '"') && s[n-1] == s[0] {
			s = s[1 : n-1]
		}
		return true, m.push(s, 16, err)
	case opShortBinString:
		return true, m.counted(1, false)
	case opBinString:
		return true, m.counted(4, false)
	case opShortBinUnicode:
		return true, m.counted(1, true)
	case opBinUnicode:
		return true, m.counted(4, true)
	case opBinUnicode8:
		return true, m.counted(8, true)
	case opShortBinBytes:
		return true, m.skip(1)
	case opBinBytes:
		return true, m.skip(4)
	case opBinBytes8, opByteArray8:
		return true, m.skip(8)
	}
	return false, nil
}

// counted pushes a string whose length comes before it, in width bytes.
func (m *machine) counted(width int, unicode bool) error {
	n, err := m.uint(width)
	if err != nil {
		return err
	}
	s, err := m.bytes(n)
	if err == nil && unicode && !utf8.Valid(s) {
		err = Errorf("string is not UTF-8")
	}
	return m.push(string(s), 16+len(s), err)
}

// skip pushes Opaque for bytes whose number comes before them, in width bytes.
func (m *machine) skip(width int) error {
	n, err := m.uint(width)
	if err == nil {
		_, err = m.bytes(n)
	}
	return m.push(Opaque{}, 0, err)
}

// container carries out the opcodes that make and fill tuples, lists, dicts and sets.
func (m *machine) container(op byte) (known bool, err error) {
	switch op {
	case opEmptyTuple:
		return true, m.tuple(0)
	case opTuple1, opTuple2, opTuple3:
		return true, m.tuple(1 + int(op-opTuple1))
	case opEmptyList, opEmptySet:
		return true, m.push(&List{}, 24, nil)
	case opEmptyDict:
		return true, m.push(&Dict{}, 48, nil)
	case opTuple, opList, opDict, opFrozenSet:
		return true, m.gather(op)
	case opAppend:
		items, err := m.popN(1)
		return true, m.extend(items, err)
	case opAppends, opAddItems:
		items, err := m.popToMark()
		return true, m.extend(items, err)
	case opSetItem:
		items, err := m.popN(2)
		return true, m.update(items, err)
	case opSetItems:
		items, err := m.popToMark()
		return true, m.update(items, err)
	}
	return false, nil
}

// tuple makes a tuple of the last n values.
func (m *machine) tuple(n int) error {
	items, err := m.popN(n)
	return m.push(&Tuple{slices.Clone(items)}, 24+16*n, err)
}

// gather makes a container of the values above the last mark.
func (m *machine) gather(op byte) error {
	items, err := m.popToMark()
	if err != nil {
		return err
	}
	items = slices.Clone(items)
	size := 48 + 16*len(items)
	switch op {
	case opTuple:
		return m.push(&Tuple{items}, size, nil)
	case opDict:
		d := &Dict{}
		return m.push(d, size, d.setItems(items))
	}
	return m.push(&List{items}, size, nil)
}

// extend puts items into the list on top of the stack.
func (m *machine) extend(items []any, err error) error {
	into, err := m.fill(items, err)
	if err != nil {
		return err
	}
	switch v := into.(type) {
	case *List:
		v.Items = append(v.Items, items...)
	case *Object:
		v.List.Items = append(v.List.Items, items...)
	case Opaque:
	default:
		return Errorf("items put into no list or dict")
	}
	return nil
}

// update puts items, which are keys and values by turns, into the dict on top of the
// stack.
func (m *machine) update(items []any, err error) error {
	into, err := m.fill(items, err)
	if err != nil {
		return err
	}
	switch v := into.(type) {
	case *Dict:
		return v.setItems(items)
	case *Object:
		return v.Dict.setItems(items)
	case Opaque:
		return nil
	}
	return Errorf("items put into no list or dict")
}

// fill returns the container on top of the stack that items are put into.
func (m *machine) fill(items []any, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	m.spent += 16 * int64(len(items))
	return m.top()
}
