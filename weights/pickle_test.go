package weights

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// shown is a value of a pickle as text.
func shown(v any) string {
	list := func(vs []any) string {
		var all []string
		for _, v := range vs {
			all = append(all, shown(v))
		}
		return strings.Join(all, " ")
	}
	switch v := v.(type) {
	case *pickledTuple:
		return "(" + list(v.items) + ")"
	case *pickledList:
		return "[" + list(v.items) + "]"
	case *pickledDict:
		return "{" + list(v.keys) + ": " + list(v.values) + "}"
	case *pickledObject:
		s := v.class.String()
		if v.attributes != nil {
			s += shown(v.attributes)
		}
		if len(v.items.keys) > 0 {
			s += shown(&v.items)
		}
		if len(v.list.items) > 0 {
			s += shown(&v.list)
		}
		return s
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprintf("%v", v)
}

// Pickles of Python 3.11 and 2.7 and what they hold.
func TestUnpickle(t *testing.T) {
	for _, c := range []struct{ pickle, want string }{
		// pickle.dumps((None, True, False, 1, 256, 70000, -1, 2**40, -2**40, 1.5, "é"), n)
		{"(NI01\nI00\nI1\nI256\nI70000\nI-1\nL1099511627776L\nL-1099511627776L\nF1.5\nV\\u00e9\np0\ntp1\n.",
			`(<nil> true false 1 256 70000 -1 1099511627776 -1099511627776 1.5 "\\u00e9")`},
		{"\x80\x02(N\x88\x89K\x01M\x00\x01Jp\x11\x01\x00J\xff\xff\xff\xff\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xffG?\xf8\x00\x00\x00\x00\x00\x00X\x02\x00\x00\x00\xc3\xa9q\x00tq\x01.",
			`(<nil> true false 1 256 70000 -1 1099511627776 -1099511627776 1.5 "é")`},
		{"\x80\x04\x95/\x00\x00\x00\x00\x00\x00\x00(N\x88\x89K\x01M\x00\x01Jp\x11\x01\x00J\xff\xff\xff\xff\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xffG?\xf8\x00\x00\x00\x00\x00\x00\x8c\x02\xc3\xa9\x94t\x94.",
			`(<nil> true false 1 256 70000 -1 1099511627776 -1099511627776 1.5 "é")`},
		// cPickle.dumps({'a': [1, ()], u'b': {}}, 2) of Python 2
		{"\x80\x02}q\x01(U\x01aq\x02]q\x03(K\x01)eX\x01\x00\x00\x00bq\x04}q\x05u.", `{"a" "b": [1 ()] {: }}`},
		{"(dp1\nS'a'\np2\n(lp3\nI1\na(taS'b'\np4\n(dp5\nss.", ""}, // ends wrongly: an item of a dict alone
		{"(dp1\nS'a'\np2\n(lp3\nI1\na(tasS'b'\np4\n(dp5\ns.", `{"a" "b": [1 ()] {: }}`},
		{"\x80\x02c__builtin__\nset\nq\x00]q\x01(K\x01K\x02e\x85q\x02Rq\x03.", "[1 2]"},
		{"\x80\x04\x8f\x94(K\x01K\x02\x90.", "[1 2]"},
		{"\x80\x04(K\x01K\x02\x91\x94.", "[1 2]"},
		{"\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00@.", "{}"}, // 2**70 is no size
		{"\x80\x02C\x03abcq\x00.", "{}"},
		{"\x80\x02N0K\x012\x86.", "(1 1)"},
		{"\x80\x02(K\x01K\x021K\x03.", "3"},
		{"\x80\x02(0K\x03.", "3"},
		// An OrderedDict of Python 2 and one of Python 3, with an attribute.
		{"\x80\x02ccollections\nOrderedDict\nq\x01]q\x02]q\x03(U\x01aK\x01ea\x85Rq\x04.", `{"a": 1}`},
		{"\x80\x02ccollections\nOrderedDict\n)Rq\x01X\x01\x00\x00\x00aK\x01s}X\x09\x00\x00\x00_metadataNsb.", `{"a": 1}`},
		// argparse.Namespace(lr=1), an instance of a subclass of dict, one of a subclass of list.
		{"\x80\x02cargparse\nNamespace\nq\x00)\x81q\x01}q\x02X\x02\x00\x00\x00lrq\x03K\x01sb.", `argparse.Namespace{"lr": 1}`},
		{"\x80\x02c__main__\nD\nq\x00)\x81q\x01X\x01\x00\x00\x00aq\x02K\x01s.", `__main__.D{"a": 1}`},
		{"\x80\x02c__main__\nL\nq\x00)\x81q\x01(K\x01K\x02e.", "__main__.L[1 2]"},
		// An object of protocol 0, by copy_reg._reconstructor.
		{"ccopy_reg\n_reconstructor\np0\n(c__main__\nC\np1\nc__builtin__\nobject\np2\nNtp3\nRp4\n(dp5\nVx\np6\nI1\nsb.", `__main__.C{"x": 1}`},
		{"\x80\x02ctorch\nfloat32\nq\x00.", "torch.float32"},
		{"\x80\x02ctorch\nSize\nq\x00K\x02K\x03\x86q\x01\x85q\x02Rq\x03.", "(2 3)"},
	} {
		v, n, err := unpickle(strings.NewReader(c.pickle+"rest"), int64(len(c.pickle)+4), nil)
		if c.want == "" {
			if err == nil {
				t.Errorf("%q: %s, want an error", c.pickle, shown(v))
			}
			continue
		}
		if err != nil || n != int64(len(c.pickle)) {
			t.Errorf("%q: %v after %d bytes, want none after %d", c.pickle, err, n, len(c.pickle))
		} else if got := shown(v); got != c.want {
			t.Errorf("%q: %s, want %s", c.pickle, got, c.want)
		}
	}
}

func FuzzPickle(f *testing.F) {
	for _, c := range torchBad() {
		if len(c.pickle) < 4096 {
			f.Add([]byte(c.pickle))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file := &torchFile{storages: make(map[string]*torchStorage)}
		v, n, err := unpickle(strings.NewReader(string(b)), int64(len(b)), file.persistent)
		if n > int64(len(b)) {
			t.Fatalf("%d bytes read of %d", n, len(b))
		}
		if err == nil {
			describePickled(v)
		}
	})
}

func FuzzPyTorch(f *testing.F) {
	// Small seeds: of large ones the fuzzer does little but try to make them smaller.
	b, err := os.ReadFile("testdata/torch/views_legacy.pth")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	var written bytes.Buffer
	if err := encodeTorch(&written, map[string]string{"k": "v"}, []Source{source("module.w", 2, 3), source("module.b", 2)}); err != nil {
		f.Fatal(err)
	}
	f.Add(written.Bytes())
	for _, c := range torchBad() {
		if len(c.pickle) < 4096 {
			f.Add([]byte(c.pickle))
		}
	}
	for _, c := range torchBadFiles() {
		f.Add(c.file)
	}
	f.Add([]byte(stateOf(torchTensorOf(torchStorageID("torch\nFloatStorage", "0", "K\x04"), "K\x00", "K\x02K\x02", "K\x01K\x02"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		// What isn't a file is tried as the pickle of one.
		if !isZip(b) && !isTorchLegacy(b, nil, 0) {
			b = torchPickled(string(b))
		}
		fuzzReads(t, b)
	})
}
