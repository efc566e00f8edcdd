package weights

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A range equals that part of the whole tensor, in every type.
func TestReadRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "elements")
		dtype := rapid.SampledFrom([]string{"F32", "F16", "BF16", "F64"}).Draw(t, "dtype")
		bytes := n * dtypeBits(dtype) / 8
		data := []byte{0x5a}
		for range bytes {
			data = append(data, rapid.ByteRange(0, 0x3f).Draw(t, "byte")) // no NaN
		}
		f, err := open(raw(fmt.Sprintf(`{"odd":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},`+
			`"x":{"dtype":%q,"shape":[1,%d],"data_offsets":[1,%d]}}`, dtype, n, 1+bytes), data...))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := f.Read("x")
		if err != nil {
			t.Fatal(err)
		}
		start := rapid.IntRange(0, n).Draw(t, "start")
		part := make([]float32, rapid.IntRange(0, n-start).Draw(t, "length"))
		if err := f.ReadRange("x", start, part); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(part, whole.Data[start:start+len(part)]) {
			t.Fatalf("elements from %d: %v, want %v", start, part, whole.Data[start:start+len(part)])
		}
	})
}

func TestReadRangeErrors(t *testing.T) {
	f := written(t, nil, source("x", 3, 4))
	for _, c := range []struct{ start, length int }{{-1, 1}, {0, 13}, {12, 1}, {13, 0}, {int(^uint(0) >> 1), 2}} {
		err := f.ReadRange("x", c.start, make([]float32, c.length))
		if err == nil || !strings.Contains(err.Error(), "x: shape [3 4] has no elements") {
			t.Errorf("%d elements from %d: %v", c.length, c.start, err)
		}
	}
	if err := f.ReadRange("y", 0, nil); err == nil {
		t.Error("a range of no tensor was read")
	}
	g, err := open(raw(one("U8", "[2]", "[0,2]"), 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.ReadRange("a", 0, make([]float32, 1)); err == nil || !strings.Contains(err.Error(), "dtype U8") {
		t.Errorf("a range of integers: %v", err)
	}
}

// The bytes of a file don't depend on the pieces that its tensors come in.
func TestPieces(t *testing.T) {
	const n = chunk/4 + 1000
	whole := source("x", n)
	var want bytes.Buffer
	if err := EncodeSafetensors(&want, nil, []Source{whole}); err != nil {
		t.Fatal(err)
	}
	all := elements(whole)
	for _, length := range []int{1, 7, 4096, chunk / 4, chunk/4 - 1, n - 1} {
		var got bytes.Buffer
		err := EncodeSafetensors(&got, nil, []Source{{"x", []int{n}, func(yield func([]float32) bool) {
			buf := make([]float32, length)
			for p := range slices.Chunk(all, length) {
				copy(buf, p)
				if !yield(buf[:len(p)]) {
					return
				}
			}
		}, ""}})
		if err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("pieces of %d: other bytes, or %v", length, err)
		}
	}
}

// A source that never ends is stopped at the first element too many.
func TestEndlessSource(t *testing.T) {
	pieces := 0
	err := EncodeSafetensors(new(bytes.Buffer), nil, []Source{{"x", []int{5}, func(yield func([]float32) bool) {
		for yield(make([]float32, 2)) {
			pieces++
		}
	}, ""}})
	if err == nil || pieces != 2 {
		t.Errorf("%v after %d pieces, want an error after 2", err, pieces)
	}
}
