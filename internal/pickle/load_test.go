package pickle

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
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
	case *Tuple:
		return "(" + list(v.Items) + ")"
	case *List:
		return "[" + list(v.Items) + "]"
	case *Dict:
		return "{" + list(v.Keys) + ": " + list(v.Values) + "}"
	case *Object:
		s := v.Class.String()
		if v.Attributes != nil {
			s += shown(v.Attributes)
		}
		if len(v.Dict.Keys) > 0 {
			s += shown(&v.Dict)
		}
		if len(v.List.Items) > 0 {
			s += shown(&v.List)
		}
		return s
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprintf("%v", v)
}

// pickles are of Python 3.11 and 2.7, with what they hold; "" where that is an error.
func pickles() []struct{ pickle, want string } {
	return []struct{ pickle, want string }{
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
	}
}

func TestLoad(t *testing.T) {
	for _, c := range pickles() {
		v, n, err := Load(strings.NewReader(c.pickle+"rest"), int64(len(c.pickle)+4), Library{})
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

// A library makes the values of its own classes and functions, and its errors have the
// place in the pickle.
func TestLibrary(t *testing.T) {
	library := Library{
		Persistent: func(id any) (any, error) {
			if id != "key" {
				return nil, Errorf("persistent id %v", id)
			}
			return 2.5, nil
		},
		Call: func(function Global, args []any) (any, bool, error) {
			if function != (Global{"own", "double"}) {
				return nil, false, nil
			}
			n, ok := args[0].(int64)
			if !ok {
				return nil, true, Errorf("no number")
			}
			return 2 * n, true, nil
		},
		New: func(class Global, args []any) (any, bool) {
			return &own{args: args}, class == Global{"own", "Class"}
		},
	}
	for _, c := range []struct{ pickle, want, err string }{
		{"cown\ndouble\n(K\x05tR.", "10", ""},
		{"cown\ndouble\n(NtR.", "", "pickle, byte 15: no number"},
		{"cown\ntriple\n(NtR.", "", "pickle, byte 15: wants to run own.triple, which no reading of weights needs: refused, and nothing was run"},
		{"X\x03\x00\x00\x00keyQ.", "2.5", ""},
		{"Pkey\n.", "2.5", ""},
		{"NQ.", "", "pickle, byte 1: persistent id <nil>"},
		{"cown\nClass\nK\x07\x85\x81K\x01b.", "own[7] of 1", ""},
		{"(cown\nClass\nK\x07o.", "own[7] of <nil>", ""},
		{"cown\nClass\n)\x81Nb.", "", "pickle, byte 14: no state"},
		{"cown\nOther\n)\x81.", "own.Other", ""},
	} {
		v, _, err := Load(strings.NewReader(c.pickle), int64(len(c.pickle)), library)
		if c.err != "" {
			if e, ok := errors.AsType[*FormatError](err); !ok || e.Error() != c.err {
				t.Errorf("%q: %v, want %s", c.pickle, err, c.err)
			}
			continue
		}
		if err != nil || shown(v) != c.want {
			t.Errorf("%q: %s, %v; want %s", c.pickle, shown(v), err, c.want)
		}
	}
	if _, _, err := Load(strings.NewReader("NQ."), 3, Library{}); err == nil || err.Error() != "pickle, byte 1: a persistent id, want none" {
		t.Errorf("a persistent id without a library: %v", err)
	}
}

// own is a value of the test's library.
type own struct{ args, state any }

func (o *own) String() string { return fmt.Sprintf("own%v of %v", o.args, o.state) }

func (o *own) SetState(state any) error {
	if state == nil {
		return Errorf("no state")
	}
	o.state = state
	return nil
}

// heavy is a value that takes much memory.
type heavy struct{}

func (heavy) Size() int { return 1 << 20 }

// What the values take counts towards the limit.
func TestSized(t *testing.T) {
	library := Library{New: func(Global, []any) (any, bool) { return heavy{}, true }}
	const pickle = "cown\nHeavy\n)\x81."
	_, _, err := Load(strings.NewReader(pickle), int64(len(pickle)), library)
	if err == nil || err.Error() != "pickle, byte 12: more values than its length allows" {
		t.Errorf("%v", err)
	}
}

// A reader's own error comes through as it is.
func TestLoadReadError(t *testing.T) {
	bad := errors.New("bad sector")
	if _, _, err := Load(iotest.ErrReader(bad), 10, Library{}); err != bad {
		t.Errorf("%v, want %v", err, bad)
	}
	_, _, err := Load(strings.NewReader("}"+strings.Repeat("\x95\x00\x00\x00\x00\x00\x00\x00\x00", maxLength/4)), 3*maxLength, Library{})
	if err == nil || !strings.HasSuffix(err.Error(), ": over 16777216 bytes") {
		t.Errorf("a pickle without an end: %v", err)
	}
}

// Whatever a pickle says, nothing but values come of it, from no more bytes than it has.
func FuzzLoad(f *testing.F) {
	for _, c := range pickles() {
		f.Add([]byte(c.pickle))
	}
	for _, s := range []string{
		"\x80\x02cos\nsystem\n\x8c\x0btouch pwned\x85R.", "(S'touch pwned'\niposix\nsystem\n.", "\x80\x04\x8c\x05posix\x8c\x06system\x93.",
		"\x80\x04)\x94h\x00h\x00\x86q\x00.", "\x80\x04]\x94h\x00a.", "X\xff\xff\xff\xff", "Nr\xff\xff\xff\xff.", "K\x01Q.", "((t1.",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		persistent := func(id any) (any, error) { return &Tuple{[]any{id}}, nil }
		_, n, err := Load(strings.NewReader(string(b)), int64(len(b)), Library{Persistent: persistent})
		if n > int64(len(b)) {
			t.Fatalf("%d bytes read of %d", n, len(b))
		}
		if e, ok := errors.AsType[*FormatError](err); err != nil && (!ok || e.Offset > int64(len(b)) || e.Reason == "") {
			t.Fatalf("%T %v, want a *FormatError inside the pickle", err, err)
		}
	})
}
