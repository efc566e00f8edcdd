package vgg_test

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/types"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// foreign matches packages whose messages quote shapes and attributes from others' files and
// requests, in the brackets that they have there, and programs that are no part of vgg.
var foreign = regexp.MustCompile(`/(tools|examples|weights|nn|network|tensor|server|internal/(interchange|hdf5|matfile|pickle|oip|kernel|vggtest))(/|$)`)

// Messages are for people: a list in one is written in words, as journal.List does, and not as Go prints a slice, an array or a map ("[32 48]").
func TestMessagesHaveNoSlices(t *testing.T) {
	vggtest.SkipShort(t, "type-checks the module")
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	s := openSources(t)
	calls := 0
	for _, p := range s.own {
		if foreign.MatchString(p.ImportPath) {
			continue
		}
		files, err := s.parse(p, p.GoFiles)
		if err != nil {
			t.Fatal(err)
		}
		info := types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
		s.check(t, s.plain, p.ImportPath, files, &info)
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if called, ok := call.Fun.(*ast.Ident); ok && called.Name == "panic" {
					return false // for programmers
				}
				for i, verb := range verbsOf(&info, call) {
					if arg := call.Args[len(call.Args)-i-1]; strings.ContainsRune("vds", verb) && isList(info.TypeOf(arg)) && !isShape(arg) {
						t.Errorf("%v: %%%c of a %v", s.files.Position(arg.Pos()), verb, info.TypeOf(arg))
					}
				}
				calls++
				return true
			})
		}
	}
	if calls < 1000 {
		t.Errorf("%d calls looked at", calls)
	}
}

// verbsOf returns the verbs of a call's format, the last argument's first; none of a call that
// has no format.
func verbsOf(info *types.Info, call *ast.CallExpr) []rune {
	signature, ok := info.TypeOf(call.Fun).(*types.Signature)
	if !ok || !signature.Variadic() || call.Ellipsis.IsValid() {
		return nil
	}
	last := signature.Params().Len() - 1
	if last < 1 || last > len(call.Args) || signature.Params().At(last).Type().String() != "[]any" {
		return nil
	}
	format := info.Types[call.Args[last-1]].Value
	if format == nil || format.Kind() != constant.String {
		return nil
	}
	var verbs []rune
	in := false
	for _, r := range constant.StringVal(format) {
		switch {
		case !in:
			in = r == '%'
		case r == '%':
			in = false
		case strings.ContainsRune("+-# 0123456789.[]", r):
		case r == '*':
			verbs = append([]rune{r}, verbs...)
		default:
			verbs, in = append([]rune{r}, verbs...), false
		}
	}
	if len(verbs) != len(call.Args)-last {
		return nil // arguments by number
	}
	return verbs
}

// isShape reports whether an argument is the shape of a tensor, which frameworks write in brackets.
func isShape(arg ast.Expr) bool {
	field, ok := arg.(*ast.SelectorExpr)
	return ok && field.Sel.Name == "Shape"
}

// isList reports whether Go prints values of a type in brackets.
func isList(t types.Type) bool {
	for _, name := range []string{"String", "Error"} {
		if m, _, _ := types.LookupFieldOrMethod(t, true, nil, name); m != nil {
			return false
		}
	}
	switch u := t.Underlying().(type) {
	case *types.Slice:
		return fmt.Sprint(u.Elem()) != "byte"
	case *types.Array, *types.Map:
		return true
	}
	return false
}
