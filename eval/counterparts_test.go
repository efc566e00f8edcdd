package eval

import (
	"slices"
	"testing"
)

func TestCounterparts(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{"cat dog owl", "owl cat dog", "\x01\x02\x00"},
		{"cat dog", "cat dog owl", ""},
		{"cat dog", "cat cow", ""},
		{"cat cat", "cat dog", ""},
		{"cat dog", "cat cat", ""},
	} {
		var want []int
		for _, place := range test.want {
			want = append(want, int(place))
		}
		if got := counterparts(words(test.a), words(test.b)); !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%q in %q: %v, want %v", test.a, test.b, got, want)
		}
	}
}

// words cuts words of three letters.
func words(s string) []string {
	var w []string
	for i := 0; i < len(s); i += 4 {
		w = append(w, s[i:i+3])
	}
	return w
}
