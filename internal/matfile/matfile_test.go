package matfile

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/verydeep/vgg/internal/vggtest"
)

func open(b []byte) ([]*Array, error) { return Open(bytes.NewReader(b), int64(len(b))) }

// deflated is a compressed element.
func deflated(element []byte) []byte {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(element)
	w.Close()
	b := binary.LittleEndian.AppendUint32([]byte{typeCompressed, 0, 0, 0}, uint32(z.Len()))
	return append(b, z.Bytes()...)
}

// sample has a value of every kind.
func sample() []MAT {
	doubles := binary.LittleEndian.AppendUint64(nil, math.Float64bits(-1.5))
	doubles = binary.LittleEndian.AppendUint64(doubles, math.Float64bits(1e300))
	return []MAT{
		MATArray(6, "double", []int{2, 1}, MATElement(typeDouble, MATBytes(doubles))),
		MATArray(6, "narrow", []int{1, 3}, MATElement(typeInt8, MATBytes([]byte{0xff, 2, 3}))),
		MATArray(7, "single", []int{1, 2}, MATElement(typeUint16, MATBytes([]byte{1, 0, 0xff, 0xff}))),
		MATArray(4, "text", []int{1, 3}, MATElement(typeUTF16, MATBytes([]byte{'a', 0, 0xe9, 0, 0xac, 0x20}))),
		MATStruct("s", []string{"a", "bc"}, MATNumber(7), MATCell("", MATText("x"), MATNumber(8), MATElement(typeMatrix))),
		MATArray(6, "empty", []int{0, 0}, MATElement(typeDouble)),
	}
}

func checkSample(t *testing.T, all []*Array) {
	t.Helper()
	if len(all) != 6 {
		t.Fatalf("%d variables, want 6", len(all))
	}
	for i, want := range []struct {
		name   string
		values []float64
	}{{"double", []float64{-1.5, 1e300}}, {"narrow", []float64{-1, 2, 3}}, {"single", []float64{1, 65535}}} {
		v, err := all[i].Numbers()
		if err != nil || all[i].Name != want.name || !slices.Equal(v, want.values) {
			t.Errorf("%s: %v, %v, want %s: %v", all[i].Name, v, err, want.name, want.values)
		}
	}
	if text, ok := all[3].Text(); !ok || text != "aé€" {
		t.Errorf("text %q", text)
	}
	s := all[4]
	cell := s.Field(0, "bc")
	if v, err := s.Field(0, "a").Numbers(); err != nil || !slices.Equal(v, []float64{7}) || cell.Class != "cell" || len(cell.Elements) != 3 || s.Field(0, "c") != nil {
		t.Errorf("struct %+v: %v, %v", s, v, err)
	} else if text, _ := cell.Elements[0].Text(); text != "x" || cell.Elements[2].Len() != 0 {
		t.Errorf("cell %+v", cell)
	}
	if v, err := all[5].Numbers(); err != nil || len(v) != 0 {
		t.Errorf("empty: %v, %v", v, err)
	}
	// Elements as little-endian floating point, in whole and in part.
	r, begin, inFile := all[2].Floats()
	b := make([]byte, 8)
	if n, err := r.ReadAt(b, begin); n != 8 || err != nil || inFile || math.Float32frombits(binary.LittleEndian.Uint32(b[4:])) != 65535 {
		t.Errorf("%d, %v: % x", n, err, b)
	}
	if n, err := r.ReadAt(b[:4], begin+4); n != 4 || err != nil || math.Float32frombits(binary.LittleEndian.Uint32(b)) != 65535 {
		t.Errorf("%d, %v: % x", n, err, b[:4])
	}
	if n, err := r.ReadAt(b, begin+4); n != 4 || err != io.EOF {
		t.Errorf("past the end: %d, %v", n, err)
	}
}

func TestOpen(t *testing.T) {
	plain := MATFile(sample()...).Bytes()
	all, err := open(plain)
	if err != nil {
		t.Fatal(err)
	}
	checkSample(t, all)

	packed := MATFile().Bytes()
	for _, v := range sample() {
		packed = append(packed, deflated(v.Bytes())...)
	}
	if all, err = open(packed); err != nil {
		t.Fatal(err)
	}
	checkSample(t, all)
	for _, file := range [][]byte{plain, packed} {
		for n := range len(file) {
			if all, err := open(file[:n]); err == nil && len(all) == 6 && n < len(file)-8 {
				t.Fatalf("the first %d of %d bytes are a file", n, len(file))
			}
		}
	}
}

// A file of the other byte order: an array whose every number is big-endian.
func TestBigEndian(t *testing.T) {
	b := append(bytes.Repeat([]byte(" "), 124), 1, 0, 'M', 'I')
	copy(b, "MATLAB 5.0 MAT-file")
	u := func(values ...uint32) {
		for _, v := range values {
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	u(typeMatrix, 8+8+8+8+8+8, typeUint32, 8, 7, 0, typeInt32, 8, 1, 1, 1<<16|typeInt8)
	b = append(b, 'x', 0, 0, 0)
	u(4<<16|typeSingle, math.Float32bits(2.5))
	all, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := all[0].Numbers(); err != nil || all[0].Name != "x" || !slices.Equal(v, []float64{2.5}) {
		t.Errorf("%+v: %v, %v", all[0], v, err)
	}
	r, begin, _ := all[0].Floats()
	bits := make([]byte, 4)
	if _, err := r.ReadAt(bits, begin); err != nil || binary.LittleEndian.Uint32(bits) != math.Float32bits(2.5) {
		t.Errorf("% x, %v", bits, err)
	}
}

// Large data is read in any order, forwards without inflating it again.
func TestInflated(t *testing.T) {
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	file := append(MATFile().Bytes(), deflated(MATArray(9, "x", []int{1, len(data)}, MATElement(typeUint8, MATBytes(data))).Bytes())...)
	counted := &counter{Reader: bytes.NewReader(file)}
	all, err := Open(counted, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	counted.n = 0
	d := all[0].Data
	const step = 100_000
	b := make([]byte, step+5000) // reads overlap
	for at := 0; at < len(data); at += step {
		p := b[:min(len(b), len(data)-at)]
		if _, err := d.R.ReadAt(p, d.Begin+int64(at)); err != nil || !bytes.Equal(p, data[at:at+len(p)]) {
			t.Fatalf("bytes from %d on differ: %v", at, err)
		}
	}
	if counted.n > len(file)+1<<16 {
		t.Errorf("read %d bytes of a file of %d", counted.n, len(file))
	}
	if _, err := d.R.ReadAt(b, d.Begin); err != nil || !bytes.Equal(b, data[:len(b)]) {
		t.Errorf("the beginning once more: %v", err)
	}
	// A checksum that is wrong is found at the end.
	file[len(file)-1]++
	if all, err = open(file); err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].Numbers(); !errors.Is(err, zlib.ErrChecksum) {
		t.Errorf("a wrong checksum: %v", err)
	}
}

// counter counts the bytes that are read.
type counter struct {
	*bytes.Reader
	n int
}

func (c *counter) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.Reader.ReadAt(b, at)
	c.n += n
	return n, err
}

// hostile are files that claim what isn't there.
func hostile() map[string]struct {
	file []byte
	want string
} {
	type c = struct {
		file []byte
		want string
	}
	file := func(m ...MAT) []byte { return MATFile(m...).Bytes() }
	deep := MATNumber(1)
	for range 40 {
		deep = MATCell("", deep)
	}
	bomb := append(MATFile().Bytes(), deflated(MATArray(9, "x", []int{1, 64 << 20}, MATElement(typeUint8, MATHole(64<<20))).Bytes())...)
	return map[string]c{
		"empty":        {nil, "no level 5"},
		"header":       {file()[:127], "no level 5"},
		"truncated":    {file(MATElement(typeMatrix, MATHole(100)))[:200], "truncated"},
		"class":        {file(MATArray(77, "x", []int{1, 1})), "class 77"},
		"shape":        {file(MATArray(6, "x", []int{1 << 30, 1 << 30, 1 << 30})), "shape"},
		"negative":     {file(MATArray(6, "x", []int{-1, 1})), "shape"},
		"short data":   {file(MATArray(6, "x", []int{1, 3}, MATElement(typeDouble, MATHole(16)))), "in 16 bytes"},
		"no data":      {file(MATArray(6, "x", []int{1, 3})), "truncated"},
		"kind":         {file(MATArray(6, "x", []int{1, 1}, MATElement(99, MATHole(8)))), "type 99"},
		"cells":        {file(MATArray(1, "x", []int{1, 1 << 30})), "elements in"},
		"cell of text": {file(MATArray(1, "x", []int{1, 1}, MATElement(typeUTF8, MATHole(8)))), "want an array"},
		"fields":       {file(MATArray(2, "x", []int{1, 1}, MATElement(typeInt32, MATHole(4)), MATElement(typeInt8, MATHole(32)))), "field names"},
		"structs":      {file(MATArray(2, "x", []int{1 << 28, 8}, MATElement(typeInt32, MATBytes([]byte{4, 0, 0, 0})), MATElement(typeInt8, MATBytes([]byte("abc\x00"))))), "elements in"},
		"deep":         {file(deep), "deep"},
		"bomb":         {bomb, "want an array of at most"},
		"not deflated": {file(MATElement(typeCompressed, MATHole(64))), "compressed element"},
		"many":         {file(MATArray(1, "x", []int{1, maxArrays}, MATHole(0), MATBytes(bytes.Repeat([]byte{typeMatrix, 0, 0, 0, 0, 0, 0, 0}, maxArrays)))), "arrays"},
	}
}

func TestHostile(t *testing.T) {
	for name, c := range hostile() {
		_, err := open(c.file)
		if _, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(MATFile(sample()...).Bytes())
	for _, v := range sample() {
		f.Add(append(MATFile().Bytes(), deflated(v.Bytes())...))
	}
	for name, c := range hostile() {
		if name != "bomb" && name != "many" {
			f.Add(c.file)
		}
	}
	paths, err := filepath.Glob("../../dataset/testdata/meta*.mat")
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := open(b)
		if err != nil {
			return
		}
		arrays := 0
		var walk func(a *Array)
		walk = func(a *Array) {
			if arrays++; arrays > maxArrays {
				t.Fatal("more arrays than the limit")
			}
			a.Text()
			if v, err := a.Numbers(); err == nil && len(v) != a.Len() {
				t.Fatal(fmt.Sprint(len(v), " numbers of shape ", a.Shape))
			}
			for _, e := range a.Elements {
				walk(e)
			}
		}
		for _, a := range all {
			walk(a)
		}
	})
}
