package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func one(dtype, shape, offsets string) string {
	return fmt.Sprintf(`{"a":{"dtype":"%s","shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
}

func lengthOnly(n uint64, rest string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
}

// Malformed files, and what the error for each must say.
func malformedFiles() map[string]struct {
	file []byte
	want string
} {
	deep := strings.Repeat("[", 50_000)
	type c = struct {
		file []byte
		want string
	}
	return map[string]c{
		"empty":                    {nil, "empty file"},
		"cut in the length":        {[]byte{0x40, 0, 0, 0, 0}, "truncated: 5 bytes, want at least the 8"},
		"length alone":             {lengthOnly(64, ""), "header of 64 bytes claimed, 0 bytes follow"},
		"cut in the header":        {raw(one("F32", "[1]", "[0,4]"))[:30], "bytes claimed, 22 bytes follow"},
		"header of 2^60 bytes":     {lengthOnly(1<<60, `{"a":{}}`), "header of 1152921504606846976 bytes claimed, want at most 100000000"},
		"2^60 alone":               {lengthOnly(1<<60, ""), "header of 1152921504606846976 bytes claimed"},
		"2^60 and no brace":        {lengthOnly(1<<60, "\x00\x01"), "found an unknown format, want"},
		"header of 2^64-1 bytes":   {lengthOnly(1<<64-1, `{"a":{}}`), "header of 18446744073709551615 bytes claimed"},
		"header of 100 MB":         {lengthOnly(100_000_000, `{"a":{}}`), "header of 100000000 bytes claimed, 8 bytes follow"},
		"header of no bytes":       {lengthOnly(0, ""), "header byte 0: header ends, want '{'"},
		"header of no bytes, data": {lengthOnly(0, "{}"), "header byte 0: header ends, want '{'"},
		"not an object":            {raw(`["a"]`), `header begins with byte 0x5b, want '{'`},
		"space first":              {raw(` {}`), `header begins with byte 0x20, want '{'`},
		"not UTF-8":                {raw("{\"\xff\":1}"), "not UTF-8"},
		"two values":               {raw(`{}{}`), "header byte 2: found '{', want the header's end"},
		"zeros for padding":        {raw("{}\x00\x00"), "header byte 2: found '\\x00', want the header's end"},
		"object without an end":    {raw(`{"a"`), "header byte 4: header ends, want ':'"},
		"key without quotes":       {raw(`{a:1}`), `found 'a', want '"'`},
		"comma at the end":         {raw(`{"__metadata__":{},}`), `found '}', want '"'`},
		"no comma":                 {raw(`{"__metadata__":{}"a":{}}`), `found '"', want ','`},
		"string without an end":    {raw(`{"abc`), "header byte 2: string without an end"},
		"string ends in backslash": {raw(`{"abc\`), "header byte 2: string without an end"},
		"control in a string":      {raw("{\"a\nb\":1}"), "header byte 3: control character"},
		"bad escape":               {raw(`{"a\x":1}`), "invalid escape"},
		"bad hex escape":           {raw(`{"\u00g0":1}`), "invalid escape"},
		"short hex escape":         {raw(`{"\u00":1}`), "invalid escape"},
		"half a surrogate pair":    {raw(`{"\ud83d":1}`), "invalid escape"},
		"surrogates turned round":  {raw(`{"\ude00\ud83d":1}`), "invalid escape"},
		"surrogate and a letter":   {raw(`{"\ud83d\u0041":1}`), "invalid escape"},

		"tensor is a number": {raw(`{"a":7}`), "found '7', want '{'"},
		"tensor is empty":    {raw(`{"a":{}}`), "a: want dtype, shape and data_offsets"},
		"no dtype":           {raw(`{"a":{"shape":[],"data_offsets":[0,0]}}`), "a: want dtype, shape and data_offsets"},
		"no shape":           {raw(`{"a":{"dtype":"F32","data_offsets":[0,0]}}`), "a: want dtype, shape and data_offsets"},
		"no offsets":         {raw(`{"a":{"dtype":"F32","shape":[0]}}`), "a: want dtype, shape and data_offsets"},
		"unknown key":        {raw(`{"a":{"strides":[1]}}`), "a: unknown key strides"},
		"dtype twice":        {raw(`{"a":{"dtype":"F32","dtype":"F32"}}`), "a: dtype given twice"},
		"shape twice":        {raw(`{"a":{"shape":[],"shape":[]}}`), "a: shape given twice"},
		"offsets twice":      {raw(`{"a":{"data_offsets":[0,0],"data_offsets":[0,0]}}`), "a: data_offsets given twice"},
		"unknown dtype":      {raw(one("Q7", "[1]", "[0,4]"), 1, 2, 3, 4), "a: unknown dtype Q7"},
		"dtype in lower":     {raw(one("f32", "[1]", "[0,4]"), 1, 2, 3, 4), "a: unknown dtype f32"},
		"dtype a number":     {raw(`{"a":{"dtype":32}}`), `found '3', want '"'`},

		"negative axis":           {raw(one("F32", "[2,-3]", "[0,4]"), 1, 2, 3, 4), "found '-', want a whole number, 0 or more"},
		"fraction for an axis":    {raw(one("F32", "[1.0]", "[0,4]"), 1, 2, 3, 4), "want a whole number"},
		"exponent in an axis":     {raw(one("F32", "[1e3]", "[0,4]"), 1, 2, 3, 4), "want a whole number"},
		"leading zero":            {raw(one("F32", "[01]", "[0,4]"), 1, 2, 3, 4), "number with a leading zero"},
		"axis of 2^63":            {raw(one("F32", "[9223372036854775808]", "[0,4]"), 1, 2, 3, 4), "number beyond 2⁶³-1"},
		"axis of 10^40":           {raw(one("F32", "[1"+strings.Repeat("0", 40)+"]", "[0,4]"), 1, 2, 3, 4), "number beyond 2⁶³-1"},
		"product of axes wraps":   {raw(one("F32", "[4294967296,4294967296]", "[0,4]"), 1, 2, 3, 4), "a: shape [4294967296 4294967296] has too many elements"},
		"product wraps to 1":      {raw(one("F32", "[2147483649,2147483649,4611686018427387905]", "[0,4]"), 1, 2, 3, 4), "has too many elements"},
		"bytes wrap":              {raw(one("F64", "[2305843009213693951]", "[0,8]"), 1, 2, 3, 4, 5, 6, 7, 8), "has too many elements"},
		"shape of 65 axes":        {raw(one("U8", "["+strings.Repeat("1,", 64)+"1]", "[0,1]"), 1), "a: more than 64 axes"},
		"shape without an end":    {raw(`{"a":{"shape":[1,2`), "header ends, want ','"},
		"shape a number":          {raw(`{"a":{"shape":7}}`), "found '7', want '['"},
		"comma in a shape":        {raw(`{"a":{"shape":[1,]}}`), "found ']', want a whole number"},
		"deep nesting":            {raw(`{"a":` + deep), "header byte 5: found '[', want '{'"},
		"deep nesting in a shape": {raw(`{"a":{"shape":` + deep), "header byte 15: found '[', want a whole number"},
		"deep objects":            {raw(strings.Repeat(`{"dtype":`, 10_000)), "header byte 18: found '{', want '\"'"},
		"half nibbles":            {raw(one("F4", "[3]", "[0,1]"), 1), "a: F4 of shape [3] doesn't fill whole bytes"},

		"more data claimed than there":  {raw(one("F32", "[2]", "[0,8]"), 1, 2, 3, 4), "a: truncated: data_offsets [0 8], but the file has 4 bytes of data"},
		"2^60 bytes of data claimed":    {raw(one("U8", "[1152921504606846976]", "[0,1152921504606846976]"), 1), "a: truncated: data_offsets [0 1152921504606846976]"},
		"shape larger than the offsets": {raw(one("F32", "[2]", "[0,4]"), 1, 2, 3, 4), "a: F32 of shape [2] is 8 bytes, but data_offsets [0 4] hold 4"},
		"shape less than the offsets":   {raw(one("F32", "[1,0]", "[0,4]"), 1, 2, 3, 4), "a: F32 of shape [1 0] is 0 bytes, but data_offsets [0 4] hold 4"},
		"offsets run backwards":         {raw(one("F32", "[1]", "[4,0]"), 1, 2, 3, 4), "a: data_offsets [4 0] run backwards"},
		"negative offset":               {raw(one("F32", "[1]", "[-4,0]"), 1, 2, 3, 4), "want a whole number, 0 or more"},
		"one offset":                    {raw(one("F32", "[1]", "[0]")), "a: 1 data_offsets, want 2"},
		"three offsets":                 {raw(one("F32", "[1]", "[0,4,8]")), "a: more than two data_offsets"},
		"data begins late":              {raw(one("U8", "[1]", "[1,2]"), 1, 2), "a: data begins at 1, want 0"},
		"data at the end is nobody's":   {raw(one("U8", "[1]", "[0,1]"), 1, 2, 3), "2 bytes after the last tensor's data"},
		"data without tensors":          {raw(`{}`, 1), "1 bytes after the last tensor's data"},
		"overlap": {raw(`{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}`, 1, 2, 3, 4),
			"b: data begins at 2, inside that of a, which ends at 3"},
		"the same data twice": {raw(`{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}`, 1, 2, 3),
			"b: data begins at 0, inside that of a, which ends at 3"},
		"hole": {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 1, 2, 3),
			"b: data begins at 2, want 1"},
		"name twice": {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 1, 2),
			"a: name given twice"},
		"name twice, once escaped": {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 1, 2),
			"a: name given twice"},

		"metadata twice":       {raw(`{"__metadata__":{},"__metadata__":{}}`), "__metadata__: name given twice"},
		"metadata key twice":   {raw(`{"__metadata__":{"k":"1","k":"2"}}`), "metadata: key k given twice"},
		"metadata not strings": {raw(`{"__metadata__":{"k":1}}`), `found '1', want '"'`},
		"metadata nested":      {raw(`{"__metadata__":{"k":{}}}`), `found '{', want '"'`},
		"metadata a list":      {raw(`{"__metadata__":[]}`), `found '[', want '{'`},
		"name not printable":   {raw(`{"a\u001b[31m":{}}`), `"a\x1b[31m": want dtype`},
		"very long name":       {raw(`{"` + strings.Repeat("n", 5000) + `":{}}`), strings.Repeat("n", 120) + "…: want dtype"},
	}
}

func TestMalformed(t *testing.T) {
	for name, c := range malformedFiles() {
		t.Run(name, func(t *testing.T) {
			f, err := open(c.file)
			if err == nil {
				t.Fatalf("opened, with %v", f.Tensors())
			}
			if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "weights: t.safetensors: ") {
				t.Errorf("%q, want %q in it", err, c.want)
			}
			if _, ok := errors.AsType[*FormatError](err); !ok && !strings.Contains(c.want, "an unknown format") {
				t.Errorf("%T, want a *FormatError", err)
			}
			if n := strings.Count(err.Error(), "t.safetensors"); n != 1 {
				t.Errorf("%q names the file %d times", err, n)
			}
		})
	}
}

// Opening a malformed file takes memory in proportion to the file, whatever it claims.
func TestMalformedAllocations(t *testing.T) {
	for name, c := range malformedFiles() {
		const slack = 16 << 10 // errors, maps, the first bytes
		limit := uint64(8*len(c.file) + slack)
		checkAllocation(t, name, c.file, limit)
	}
}

// checkAllocation fails if opening the file allocates more than limit bytes. It tries
// several times, since other goroutines may allocate meanwhile.
func checkAllocation(t *testing.T, name string, file []byte, limit uint64) {
	t.Helper()
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		open(file)
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > limit {
		t.Errorf("%s: %d bytes allocated for a file of %d", name, least, len(file))
	}
}

// A truncated file doesn't open.
func TestTruncatedAnywhere(t *testing.T) {
	var b bytes.Buffer
	err := EncodeSafetensors(&b, map[string]string{"config": "A"}, []Source{source("conv1_1.weight", 2, 3), source("conv1_1.bias", 2)})
	if err != nil {
		t.Fatal(err)
	}
	for n := range b.Len() {
		f, err := open(b.Bytes()[:n])
		if _, ok := errors.AsType[*FormatError](err); !ok {
			t.Fatalf("cut at %d of %d bytes: %v, %v; want a *FormatError", n, b.Len(), f, err)
		}
	}
	if _, err := open(b.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// Files that look odd but are allowed.
func TestWellFormed(t *testing.T) {
	for name, c := range map[string]struct {
		file    []byte
		tensors string
	}{
		"nothing":              {raw(`{}`), "[]"},
		"padding":              {raw("{} \n\t\r "), "[]"},
		"spaces":               {raw("{ \"a\" : { \"dtype\" : \"U8\" , \"shape\" : [ 1 , 1 ] , \"data_offsets\" : [ 0 , 1 ] } } ", 7), "[{a U8 [1 1]}]"},
		"null metadata":        {raw(`{"__metadata__":null}`), "[]"},
		"escapes":              {raw(`{"\u0061\/\\\ud83d\ude00":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`), `[{a/\😀 U8 [0]}]`},
		"axis of 0 among huge": {raw(one("F32", "[4611686018427387904,4611686018427387904,0]", "[0,0]")), "[{a F32 [4611686018427387904 4611686018427387904 0]}]"},
		"empty between": {raw(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"e":{"dtype":"U8","shape":[0],"data_offsets":[1,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, 2),
			"[{a U8 [1]} {e U8 [0]} {b U8 [1]}]"},
		"64 axes": {raw(one("U8", "["+strings.Repeat("1,", 63)+"1]", "[0,1]"), 1), "[{a U8 [" + strings.Repeat("1 ", 63) + "1]}]"},
		"F6":      {raw(one("F6_E2M3", "[4]", "[0,3]"), 1, 2, 3), "[{a F6_E2M3 [4]}]"},
	} {
		f, err := open(c.file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := fmt.Sprint(f.Tensors()); got != c.tensors {
			t.Errorf("%s: %s, want %s", name, got, c.tensors)
		}
	}
}

func FuzzSafetensors(f *testing.F) {
	for _, c := range malformedFiles() {
		if len(c.file) < 4096 {
			f.Add(c.file)
		}
	}
	for _, c := range otherFiles() {
		f.Add(c.file)
	}
	f.Add(raw(`{"__metadata__":{"k":"v"},"h":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"d":{"dtype":"F64","shape":[1,1],"data_offsets":[2,10]}}`,
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := open(b)
		if err != nil {
			if w != nil || !strings.HasPrefix(err.Error(), "weights: t.safetensors: ") {
				t.Fatalf("%v, %q", w, err)
			}
			return
		}
		if w.Format() != Safetensors {
			return
		}
		data := 8 + int64(binary.LittleEndian.Uint64(b))
		var sources []Source
		for _, e := range w.Tensors() {
			n, err := byteSize(e.DType, e.Shape)
			if err != nil {
				t.Fatal(err)
			}
			data += n
			x, err := w.Read(e.Name)
			if readable(e.DType) != (err == nil) {
				t.Fatalf("%s of %s: %v", e.Name, e.DType, err)
			}
			if err == nil {
				sources = append(sources, FromTensor(e.Name, x))
			}
		}
		if data != int64(len(b)) {
			t.Fatalf("tensors end at byte %d of %d", data, len(b))
		}
		var again bytes.Buffer
		if err := EncodeSafetensors(&again, w.Metadata(), sources); err != nil {
			t.Fatal(err)
		}
		v, err := open(again.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sources {
			x, err := v.Read(s.Name)
			if err != nil || !slices.Equal(x.Shape, s.Shape) {
				t.Fatalf("%s: %v, %v after %v", s.Name, err, x, s.Shape)
			}
		}
	})
}
