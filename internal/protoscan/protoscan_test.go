package protoscan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

func tag(num protowire.Number, typ protowire.Type) []byte {
	return protowire.AppendTag(nil, num, typ)
}

func varint(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(tag(num, protowire.VarintType), v)
}

func content(num protowire.Number, b ...byte) []byte {
	return protowire.AppendBytes(tag(num, protowire.BytesType), b)
}

func whole(b []byte) Span { return Span{0, int64(len(b))} }

// fieldsOf lists the fields of a message as text.
func fieldsOf(b []byte) ([]string, error) {
	var all []string
	err := New(bytes.NewReader(b)).Fields(whole(b), func(f Field) error {
		all = append(all, fmt.Sprintf("%d/%d %d [%d %d)", f.Num, f.Type, f.Value, f.Begin, f.End))
		return nil
	})
	return all, err
}

func TestFields(t *testing.T) {
	b := slices.Concat(varint(1, 300), content(2, 'a', 'b'), protowire.AppendFixed32(tag(3, protowire.Fixed32Type), 7),
		protowire.AppendFixed64(tag(100, protowire.Fixed64Type), 9), content(4))
	got, err := fieldsOf(b)
	want := []string{"1/0 300 [1 3)", "2/2 0 [5 7)", "3/5 7 [8 12)", "100/1 9 [14 22)", "4/2 0 [24 24)"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if got, err := fieldsOf(nil); got != nil || err != nil {
		t.Errorf("of an empty message: %v, %v", got, err)
	}
}

// What isn't asked for isn't read: content of a gibibyte is passed over.
func TestContentIsPassedOver(t *testing.T) {
	const length = 1 << 30
	head := protowire.AppendVarint(tag(9, protowire.BytesType), length)
	file := &sparse{head: head, tail: varint(1, 5), size: int64(len(head)) + length + 2}
	var nums []protowire.Number
	err := New(file).Fields(Span{0, file.size}, func(f Field) error {
		nums = append(nums, f.Num)
		return nil
	})
	if err != nil || !slices.Equal(nums, []protowire.Number{9, 1}) {
		t.Errorf("fields %v, %v", nums, err)
	}
	if file.read > 16<<10 {
		t.Errorf("%d bytes read, want a window or two", file.read)
	}
}

// sparse is a file of zeros between head and tail that counts what is read of it.
type sparse struct {
	head, tail []byte
	size, read int64
}

func (s *sparse) ReadAt(b []byte, at int64) (int, error) {
	clear(b)
	if at < int64(len(s.head)) {
		copy(b, s.head[at:])
	}
	if end := s.size - int64(len(s.tail)); at+int64(len(b)) > end && at <= end {
		copy(b[end-at:], s.tail)
	}
	s.read += int64(len(b))
	return len(b), nil
}

func TestMalformedMessages(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"no tag":            {[]byte{0x80}, "byte 0: no field of a protobuf message: …unexpected EOF"},
		"field 0":           {[]byte{0, 0}, "byte 0: no field of a protobuf message: …invalid field number"},
		"group":             {append(varint(1, 1), tag(2, protowire.StartGroupType)...), "byte 2: field 2 has the wire type 3, want 0, 1, 2 or 5"},
		"content cut off":   {content(2, 1, 2, 3)[:4], "byte 0: truncated: field 2 of 3 bytes, 2 follow"},
		"length of 2^63":    {protowire.AppendVarint(tag(2, protowire.BytesType), 1<<63), "byte 0: truncated: field 2 of 9223372036854775808 bytes, 0 follow"},
		"number cut off":    {[]byte{8, 0x80}, "byte 0: field 1: unexpected EOF"},
		"varint of 11 byte": {append([]byte{8}, bytes.Repeat([]byte{0xff}, 11)...), "byte 0: field 1: …variable length integer overflow"},
		"32 bits cut off":   {append(tag(3, protowire.Fixed32Type), 1, 2, 3), "byte 0: field 3: unexpected EOF"},
	} {
		_, err := fieldsOf(c.b)
		before, after, _ := strings.Cut(c.want, "…") // protobuf's own prefix
		if e, ok := errors.AsType[*FormatError](err); !ok || !strings.HasPrefix(e.Error(), before) || !strings.HasSuffix(e.Error(), after) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestNumbersAndTexts(t *testing.T) {
	b := slices.Concat(
		varint(1, math.MaxUint64), // -1
		content(2, 1, 0xac, 0x02), // 1, 300
		protowire.AppendFixed32(tag(3, protowire.Fixed32Type), 0x3f80<<16), // 1.0
		content(4, 0, 0, 0, 0x40, 0, 0, 0x80, 0xbf),                        // 2.0, -1.0
		content(5, []byte("é\xff")...),
		content(6, 0x80),
	)
	s := New(bytes.NewReader(b))
	fields := map[protowire.Number]Field{}
	if err := s.Fields(whole(b), func(f Field) error { fields[f.Num] = f; return nil }); err != nil {
		t.Fatal(err)
	}
	if n, err := fields[1].Integer(); n != -1 || err != nil {
		t.Errorf("Integer: %d, %v", n, err)
	}
	if v, err := fields[3].Float(); v != 1 || err != nil {
		t.Errorf("Float: %v, %v", v, err)
	}
	if n, err := s.Integers([]int64{7}, fields[2], 3); err != nil || !slices.Equal(n, []int64{7, 1, 300}) {
		t.Errorf("Integers: %v, %v", n, err)
	}
	if v, err := s.Floats([]float64{7}, fields[4], 3); err != nil || !slices.Equal(v, []float64{7, 2, -1}) {
		t.Errorf("packed Floats: %v, %v", v, err)
	}
	if v, err := s.Floats(nil, fields[3], 1); err != nil || !slices.Equal(v, []float64{1}) {
		t.Errorf("Floats: %v, %v", v, err)
	}
	at := fields[5].Begin
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"an integer of content": {second(fields[2].Integer()), "field 2 has the wire type 2, want 0"},
		"a float of a varint":   {second(fields[1].Float()), "field 1 has the wire type 0, want 5"},
		"a message of a varint": {second(fields[1].Message()), "field 1 has the wire type 0, want 2"},
		"a text of a varint":    {second(s.Text(fields[1], 9)), "field 1 has the wire type 0, want 2"},
		"a text too long":       {second(s.Text(fields[5], 2)), "a text of 3 bytes, want at most 2"},
		"a text that isn't one": {second(s.Text(fields[5], 3)), "a text that is not UTF-8"},
		"too many integers":     {second(s.Integers(nil, fields[2], 1)), "field 2 has more than 1 numbers"},
		"an integer cut off":    {second(s.Integers(nil, fields[6], 9)), "field 6: unexpected EOF"},
		"integers of 32 bits":   {second(s.Integers(nil, fields[3], 9)), "field 3 has the wire type 5, want 2"},
		"too many floats":       {second(s.Floats(nil, fields[4], 1)), "field 4 of 8 bytes, want at most 1 numbers of 4"},
		"one float too many":    {second(s.Floats([]float64{1}, fields[3], 1)), "field 3 has more than 1 numbers"},
		"floats of three bytes": {second(s.Floats(nil, fields[2], 9)), "field 2 of 3 bytes, want at most 9 numbers of 4"},
		"floats of varints":     {second(s.Floats(nil, fields[1], 9)), "field 1 has the wire type 0, want 2"},
	} {
		e, ok := errors.AsType[*FormatError](c.err)
		if !ok || e.Reason != c.want {
			t.Errorf("%s: %v, want %s", name, c.err, c.want)
		} else if strings.HasPrefix(name, "a text t") && e.Offset != at {
			t.Errorf("%s: at byte %d, want %d", name, e.Offset, at)
		}
	}
	text := content(1, []byte("é")...)
	if got, err := New(bytes.NewReader(text)).Text(Field{Type: protowire.BytesType, Span: Span{2, 4}}, 2); got != "é" || err != nil {
		t.Errorf("Text: %q, %v", got, err)
	}
}

func second[T any](_ T, err error) error { return err }

// Numbers that lie across the window's end are read all the same.
func TestVarintsAcrossWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Int64(), 0, 3000).Draw(t, "numbers")
		var b []byte
		for _, v := range want {
			b = protowire.AppendVarint(b, uint64(v))
		}
		got, err := New(bytes.NewReader(b)).Integers(nil, whole(b).Packed(), len(want))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%d numbers, %v; want the %d", len(got), err, len(want))
		}
	})
}

// A file's own error comes through as it is; its end before the message's is one.
func TestReadErrors(t *testing.T) {
	b := content(1, make([]byte, 100)...)
	bad := errors.New("bad sector")
	cut := bytes.NewReader(b[:50])
	s := New(cut)
	if err := s.Fields(whole(b), func(Field) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file cut short: %v", err)
	}
	s = New(failing{bad})
	if err := s.Fields(whole(b), func(Field) error { return nil }); err != bad {
		t.Errorf("a file that fails: %v", err)
	}
	stop := iotest.ErrTimeout
	if err := New(bytes.NewReader(b)).Fields(whole(b), func(Field) error { return stop }); err != stop {
		t.Errorf("visit fails: %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// Fields lie within their message, one after the other.
func FuzzFields(f *testing.F) {
	f.Add(slices.Concat(varint(1, 300), content(2, 8, 1, 18, 1, 'x'), protowire.AppendFixed32(tag(3, protowire.Fixed32Type), 7)))
	f.Add(content(2, content(2, content(2, 1, 2, 3)...)...))
	f.Add(protowire.AppendVarint(tag(2, protowire.BytesType), 1<<63))
	f.Add([]byte{8, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := New(bytes.NewReader(b))
		var walk func(m Span, depth int) error
		walk = func(m Span, depth int) error {
			at := m.Begin
			return s.Fields(m, func(f Field) error {
				if f.Begin <= at || f.End < f.Begin || f.End > m.End {
					t.Fatalf("field %d at [%d %d) of a message at [%d %d)", f.Num, f.Begin, f.End, m.Begin, m.End)
				}
				at = f.End
				if f.Type == protowire.BytesType && depth < 5 {
					_ = walk(f.Span, depth+1) // it may hold anything
					if n, err := s.Integers(nil, f, 8); err == nil && len(n) > 8 {
						t.Fatalf("%d numbers, want at most 8", len(n))
					}
					if text, err := s.Text(f, 4); err == nil && len(text) > 4 {
						t.Fatalf("a text of %d bytes, want at most 4", len(text))
					}
				}
				return nil
			})
		}
		if err := walk(whole(b), 0); err != nil {
			if e, ok := errors.AsType[*FormatError](err); !ok || e.Offset > int64(len(b)) {
				t.Fatalf("%T %v, want a *FormatError inside the file", err, err)
			}
		}
	})
}
