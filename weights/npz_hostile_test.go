package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

// npyFile is a .npy file with this header.
func npyFile(header string, data ...byte) string {
	b := []byte("\x93NUMPY\x01\x00")
	b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	return string(b) + header + string(data)
}

func npyOf(descr, order, shape string, data ...byte) string {
	return npyFile(fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n", descr, order, shape), data...)
}

func npzZip(method uint16, arrays ...string) []byte {
	var members []torchMember
	for i, a := range arrays {
		members = append(members, torchMember{fmt.Sprintf("%c.npy", 'a'+i), a, method})
	}
	return torchZip(members...)
}

func npzBadFiles() map[string]struct {
	file []byte
	want string
} {
	type c = struct {
		file []byte
		want string
	}
	files := make(map[string]c)
	for name, a := range map[string]struct{ array, want string }{
		"empty":                 {"", "a: truncated in the array's header"},
		"no magic":              {"hello, world", "a: no array of NumPy: begins with \"hello,\""},
		"version":               {"\x93NUMPY\x04\x00\x00\x00\x00\x00", "a: version 4 of NumPy's format, want 1 to 3"},
		"header past the end":   {"\x93NUMPY\x01\x00\xff\xffx", "a: header of 65535 bytes claimed in an array of 11"},
		"header of 2^32":        {"\x93NUMPY\x02\x00\xff\xff\xff\xffx", "a: header of 4294967295 bytes claimed in an array of 13"},
		"no dict":               {npyFile("[]"), "a: header byte 0: want {"},
		"open dict":             {npyFile("{'descr': '<f4'"), "a: header byte 15: want ,"},
		"code":                  {npyFile("{'descr': __import__('os').system('x'), 'fortran_order': False, 'shape': (1,)}"), "a: header byte 10: want descr, fortran_order or shape"},
		"unknown key":           {npyFile("{'descr': '<f4', 'colour': 1}"), "a: header byte 26: want descr, fortran_order or shape"},
		"no shape":              {npyFile("{'descr': '<f4', 'fortran_order': False}"), "a: header without descr, fortran_order or shape"},
		"order":                 {npyOf("<f4", "Maybe", "(1,)", 1, 2, 3, 4), "want descr, fortran_order or shape"},
		"negative axis":         {npyOf("<f4", "False", "(-1,)", 1, 2, 3, 4), "want descr, fortran_order or shape"},
		"axis of 10^40":         {npyOf("<f4", "False", "(1"+strings.Repeat("0", 40)+",)", 1, 2, 3, 4), "want descr, fortran_order or shape"},
		"axes wrap":             {npyOf("<f4", "False", "(4294967296, 4294967296)", 1, 2, 3, 4), "a: shape [4294967296 4294967296] has too many elements"},
		"65 axes":               {npyOf("<f4", "False", "("+strings.Repeat("1,", 65)+")", 1, 2, 3, 4), "want descr, fortran_order or shape"},
		"2^40 elements claimed": {npyOf("<f4", "False", "(1099511627776,)", 1, 2, 3, 4), "a: <f4 of shape [1099511627776] is 4398046511104 bytes, but the array has 4"},
		"more than claimed":     {npyOf("<f4", "False", "(1,)", 1, 2, 3, 4, 5), "a: <f4 of shape [1] is 4 bytes, but the array has 5"},
		"fewer than claimed":    {npyOf("<f8", "True", "(2,2)", 1, 2, 3, 4, 5), "a: <f8 of shape [2 2] is 32 bytes, but the array has 5"},
		"deep brackets":         {npyFile("{'descr': " + strings.Repeat("[", 10_000)), "want descr"},
		"string without an end": {npyFile("{'descr': '<f4"), "want descr"},
	} {
		files[name] = c{npzZip(zip.Store, a.array), a.want}
		files[name+", deflated"] = c{npzZip(zip.Deflate, a.array), a.want}
	}
	whole := npzZip(zip.Store, npyOf("<f4", "False", "(1,)", 1, 2, 3, 4))
	files["truncated"] = c{whole[:len(whole)-40], "truncated or damaged: want a zip file's directory at its end"}
	files["path outside"] = c{torchZip(torchMember{"../a.npy", npyOf("<f4", "False", "(1,)", 1, 2, 3, 4), zip.Store}), "member ../a.npy is a path out of the file"}
	files["path of Windows"] = c{torchZip(torchMember{`b\..\..\a.npy`, npyOf("<f4", "False", "(1,)", 1, 2, 3, 4), zip.Store}), "is a path out of the file"}
	files["bomb"] = c{npzZip(zip.Deflate, npyOf("<f4", "False", "(5242880,)", make([]byte, 20<<20)...)), "arrays of 20971594 bytes in a file of "}
	return files
}

func TestNPZHostile(t *testing.T) {
	for name, c := range npzBadFiles() {
		t.Run(name, func(t *testing.T) {
			_, err := open(c.file)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "weights: t.safetensors: ") {
				t.Fatalf("%v, want %q in it", err, c.want)
			}
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Errorf("%T, want a *FormatError", err)
			}
			const slack = 256 << 10 // flate's tables and window, bufio's buffers
			if got := allocated(func() { open(c.file) }); got > uint64(16*len(c.file)+slack) {
				t.Errorf("%d bytes allocated for a file of %d", got, len(c.file))
			}
		})
	}
}

// Reading a compressed array is an error if it holds less or other data than the directory
// says, even if the part that is read isn't its end.
func TestNPZLies(t *testing.T) {
	data := bytes.Repeat([]byte{1, 2, 3, 4}, 1000)
	array := npyOf("<f4", "False", "(1000,)", data...)
	file := npzZip(zip.Deflate, array)
	at := bytes.Index(file, []byte("PK\x01\x02"))
	if f, err := open(file); err != nil {
		t.Fatal(err)
	} else if x, err := f.Read("a"); err != nil || x.Len() != 1000 {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		place int
		add   byte
		want  string
	}{
		"checksum": {16, 1, "checksum"},
		"longer":   {24, 1, "the array has"},
	} {
		lie := bytes.Clone(file)
		lie[at+c.place] += c.add
		f, err := open(lie)
		if err == nil {
			_, err = f.Read("a")
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), ": a: ") {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
	// The array and the directory agree on a length that the compressed data don't have.
	short := npyOf("<f4", "False", "(1000,)", data[:3000]...)
	file = npzZip(zip.Deflate, short)
	at = bytes.Index(file, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(file[at+24:], uint32(len(array)))
	f, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read("a"); err == nil || !strings.Contains(err.Error(), "a: unexpected EOF") {
		t.Errorf("%v", err)
	}
	part := make([]float32, 500)
	if err := f.ReadRange("a", 100, part); err != nil {
		t.Errorf("what is there: %v", err)
	}
}

func FuzzNPZ(f *testing.F) {
	// Seeds are small: the fuzzer spends its time on making large ones smaller.
	var written bytes.Buffer
	if err := encodeNPZ(&written, map[string]string{"k": "v"}, []Source{source("w", 2, 3), source("b", 2)}); err != nil {
		f.Fatal(err)
	}
	f.Add(written.Bytes())
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		f.Add(npzZip(method, npyOf(">f8", "True", "(1, 2)", make([]byte, 16)...), npyOf("|O", "False", "()", 1, 2), npyOf("<i8", "False", "(1,)", make([]byte, 8)...)))
	}
	for name, c := range npzBadFiles() {
		if name != "bomb" {
			f.Add(c.file)
		}
	}
	f.Add([]byte(npyOf("<f2", "True", "(2, 1)", 1, 2, 3, 4)))
	f.Fuzz(func(t *testing.T, b []byte) {
		// What isn't a zip file is wrapped as an array in one.
		if !isZip(b) {
			b = npzZip(zip.Store, string(b))
		}
		fuzzReads(t, b)
	})
}

// fuzzReads reads every tensor that a file lists. Each can be read or gives an error.
func fuzzReads(t *testing.T, b []byte) {
	w, err := open(b)
	if err != nil {
		if w != nil || !strings.HasPrefix(err.Error(), "weights: t.safetensors: ") {
			t.Fatalf("%v, %q", w, err)
		}
		return
	}
	total := 0
	for _, e := range w.Tensors() {
		x, err := w.Read(e.Name)
		if err != nil {
			continue
		}
		if total += x.Len(); total > math.MaxInt32 || x.Len() > len(b)*npzRatio+npzSlack {
			t.Fatalf("%d elements of a file of %d bytes", x.Len(), len(b))
		}
		part := make([]float32, x.Len()-x.Len()/3)
		if err := w.ReadRange(e.Name, x.Len()/3, part); err != nil {
			t.Fatalf("%s: read as a whole, but not in part: %v", e.Name, err)
		}
		for i, v := range part {
			if want := x.Data[x.Len()/3+i]; math.Float32bits(v) != math.Float32bits(want) {
				t.Fatalf("%s: element %d of a range is %v, want %v", e.Name, i, v, want)
			}
		}
	}
}

// The error of a truncated download says so.
func TestTruncatedZip(t *testing.T) {
	for _, write := range []func(io.Writer, map[string]string, []Source) error{encodeTorch, encodeNPZ} {
		var b bytes.Buffer
		if err := write(&b, nil, []Source{source("conv1_1.weight", 64, 3, 3, 3)}); err != nil {
			t.Fatal(err)
		}
		_, err := open(b.Bytes()[:b.Len()-100])
		if _, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(err.Error(), "truncated") {
			t.Errorf("%v", err)
		}
	}
}
