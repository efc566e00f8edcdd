package cli_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/verydeep/vgg"
)

// near TOLERANCE FILE FILE [KEY…]: both files are weights or JSON, and the same but for numbers,
// which differ at most by the tolerance, relative to the largest number of their tensor or array,
// or to themselves. Keys of JSON objects that are named are left out.
func near(ts *testscript.TestScript, neg bool, args []string) {
	tolerance, err := strconv.ParseFloat(args[0], 64)
	ts.Check(err)
	read := readJSON
	if strings.HasSuffix(args[1], ".safetensors") {
		read = readTensors
	}
	a, err := read(ts, args[1])
	ts.Check(err)
	b, err := read(ts, args[2])
	ts.Check(err)
	switch err := differ(a, b, tolerance, args[3:]); {
	case err != nil && !neg:
		ts.Fatalf("%s and %s: %v", args[1], args[2], err)
	case err == nil && neg:
		ts.Fatalf("%s and %s are the same within %s", args[1], args[2], args[0])
	}
}

// readJSON reads JSON values. Lines of result files are in the order of their images.
func readJSON(ts *testscript.TestScript, file string) (any, error) {
	var values []any
	for d := json.NewDecoder(strings.NewReader(ts.ReadFile(file))); ; {
		var v any
		err := d.Decode(&v)
		switch {
		case errors.Is(err, io.EOF) && len(values) > 0:
			slices.SortStableFunc(values, func(a, b any) int { return cmp.Compare(imageOf(a), imageOf(b)) })
			return values, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if object, _ := v.(map[string]any); object["posterior"] != nil {
			if object["posterior"], err = float32s(object["posterior"]); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
		values = append(values, v)
	}
}

// float32s decodes the numbers of a result file, float32 in base64.
func float32s(text any) (any, error) {
	raw, err := base64.StdEncoding.DecodeString(fmt.Sprint(text))
	if err != nil {
		return nil, err
	}
	var values []any
	for ; len(raw) >= 4; raw = raw[4:] {
		values = append(values, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))))
	}
	return values, nil
}

// imageOf returns the number of a result's image, -1 of anything else.
func imageOf(v any) float64 {
	object, _ := v.(map[string]any)
	if n, ok := object["image"].(float64); ok {
		return n
	}
	return -1
}

// readTensors reads the parameters of a network.
func readTensors(ts *testscript.TestScript, file string) (any, error) {
	m, err := vgg.Open(context.Background(), ts.MkAbs(file), vgg.OpenOptions{})
	if _, ok := errors.AsType[*vgg.LocaliserError](err); ok {
		m, err = vgg.Open(context.Background(), ts.MkAbs(file), vgg.OpenOptions{Localiser: true})
	}
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	for _, p := range m.Net.Params() {
		v := make([]float32, p.Len())
		if err := p.Get(v); err != nil {
			return nil, err
		}
		values := make([]any, len(v))
		for i, x := range v {
			values[i] = float64(x)
		}
		all[p.Name] = values
	}
	return all, nil
}

// differ says where two JSON values differ.
func differ(a, b any, tolerance float64, ignored []string) error {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			break
		}
		for _, m := range []map[string]any{a, b} {
			maps.DeleteFunc(m, func(k string, _ any) bool { return slices.Contains(ignored, k) })
		}
		if len(a) != len(b) {
			return fmt.Errorf("the keys are %v and %v", slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
		}
		for k := range a {
			if err := differ(a[k], b[k], tolerance, ignored); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
		}
		return nil
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			break
		}
		largest := 0.0
		for _, v := range a {
			if x, ok := v.(float64); ok {
				largest = max(largest, math.Abs(x))
			}
		}
		for i := range a {
			x, xok := a[i].(float64)
			y, yok := b[i].(float64)
			if xok && yok && math.Abs(x-y) <= tolerance*largest {
				continue
			}
			if err := differ(a[i], b[i], tolerance, ignored); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
		return nil
	case float64:
		if b, ok := b.(float64); ok && math.Abs(a-b) <= tolerance*math.Abs(a) {
			return nil
		}
	default:
		if a == b {
			return nil
		}
	}
	text := func(v any) string {
		s, err := json.Marshal(v)
		if err != nil {
			return err.Error()
		}
		return string(s[:min(len(s), 200)])
	}
	return fmt.Errorf("%s and %s", text(a), text(b))
}

// The command near itself finds what differs.
func TestDiffer(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{`{"x":1,"s":5}`, `{"x":1.0000009,"s":7}`, true},
		{`{"x":1}`, `{"x":1.00002}`, false},
		{`{"x":[100,0]}`, `{"x":[100,0.0005]}`, true},
		{`{"x":[100,0]}`, `{"x":[100,0.01]}`, false},
		{`{"x":[[1,2],"a",null]}`, `{"x":[[1,2],"a",null]}`, true},
		{`{"x":"a"}`, `{"x":"b"}`, false},
		{`{"x":1}`, `{"y":1}`, false},
		{`{"x":1}`, `{"x":1,"y":2}`, false},
		{`[1]`, `[1,2]`, false},
		{`{"x":1}`, `1`, false},
	} {
		var a, b any
		for text, v := range map[string]*any{test.a: &a, test.b: &b} {
			if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(v); err != nil {
				t.Fatal(err)
			}
		}
		if test.a == test.b {
			b = a
		}
		if err := differ(a, b, 1e-5, []string{"s"}); (err == nil) != test.same {
			t.Errorf("%s and %s: %v", test.a, test.b, err)
		}
	}
}
