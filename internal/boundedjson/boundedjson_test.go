package boundedjson

import (
	"errors"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

func TestUnmarshal(t *testing.T) {
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct{ name, text, what string }{
		{"small", `{"a": [1, 2, {"b": "c"}]}`, ""},
		{"no JSON", `{"a"`, "syntax"},
		{"depth", nest(maxLevels), ""},
		{"deeper", nest(maxLevels + 1), "levels"},
		{"values", "[" + strings.Repeat("0,", maxValues-1) + "0]", ""},
		{"more values", "[" + strings.Repeat("0,", maxValues) + "0]", "values"},
		{"objects", "[" + strings.Repeat("{}", maxValues+1) + "]", "values"},
		{"commas and brackets in a string", `"` + strings.Repeat(`[,\"{`, maxValues) + `"`, ""},
		{"an escaped backslash", `["\\",` + nest(maxLevels) + `]`, "levels"},
		{"bytes", `"` + strings.Repeat(" ", maxBytes) + `"`, "bytes"},
	} {
		var v any
		err := Unmarshal([]byte(c.text), &v)
		what := ""
		if e, ok := errors.AsType[*limitError](err); ok {
			what = e.What
		} else if err != nil {
			what = "syntax"
		}
		if what != c.what {
			t.Errorf("%s: %v, want the limit of %q", c.name, err, c.what)
		}
	}
}
