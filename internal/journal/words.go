package journal

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// List writes values for a person: "32, 48"; "none" of none.
func List[T any](values []T) string {
	if len(values) == 0 {
		return "none"
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

// Shape writes the lengths of a tensor's axes for a person: "8×26"; "1 value" of none.
func Shape(axes []int) string {
	if len(axes) == 0 {
		return "1 value"
	}
	texts := make([]string, len(axes))
	for i, n := range axes {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, "×")
}

// Difference says in which respect a run is another than the wanted one: "scales 32, want
// 32, 48".
func Difference(what string, got, want any) string {
	return fmt.Sprintf("%s %s, want %s", what, plain(got), plain(want))
}

// plain writes a value, a list as [List] does.
func plain(v any) string {
	r := reflect.ValueOf(v)
	if _, ok := v.(fmt.Stringer); ok || !r.IsValid() || r.Kind() != reflect.Slice {
		return fmt.Sprint(v)
	}
	values := make([]any, r.Len())
	for i := range values {
		values[i] = r.Index(i).Interface()
	}
	return List(values)
}
