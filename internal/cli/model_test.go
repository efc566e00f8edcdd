package cli

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// kinds are what placeholders stand for.
var kinds = map[string]string{"FILE": "path", "DIR": "path", "PATH": "path"}

// kindOf returns what a flag takes: a word for its type, whether it can be given more than
// once, and the placeholder.
func kindOf(f *kong.Flag) string {
	t := f.Target.Type()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	list := ""
	if t.Kind() == reflect.Slice {
		t, list = t.Elem(), "list of "
	}
	word := t.Kind().String()
	switch t.Kind() {
	case reflect.Int, reflect.Int64, reflect.Uint32, reflect.Uint64:
		word = "number"
	case reflect.Float64:
		word = "fraction"
	}
	if t.PkgPath() != "" && t.Kind() != reflect.String {
		word = t.Name()
	}
	if t == reflect.TypeFor[rankCount]() { // a number, which mpi can stand before
		word = "number"
	}
	holder := f.PlaceHolder
	if kind, ok := kinds[holder]; ok {
		holder = kind
	}
	return list + word + " " + holder
}

// TestFlagsAgree checks that a flag's name means one thing: in every command it takes the same
// and begins its help with the same words. Words that begin the help of two names must be of
// one.
func TestFlagsAgree(t *testing.T) {
	type use struct{ command, kind, meaning string }
	uses := map[string][]use{}
	names := map[string]map[string]bool{}
	for _, command := range parser(t).Model.Leaves(false) {
		for _, f := range command.Flags {
			if f.Name == "help" {
				continue
			}
			u := use{command.Path(), kindOf(f), meaningOf(f.Value)}
			uses[f.Name] = append(uses[f.Name], u)
			if names[u.meaning] == nil {
				names[u.meaning] = map[string]bool{}
			}
			names[u.meaning][f.Name] = true
		}
	}
	if len(uses) < 100 {
		t.Fatalf("%d flags, want all", len(uses))
	}
	for name, of := range uses {
		for _, u := range of[1:] {
			if u.kind != of[0].kind || u.meaning != of[0].meaning {
				t.Errorf("--%s: vgg %s takes %q, %q; vgg %s takes %q, %q", name, of[0].command, of[0].kind, of[0].meaning, u.command, u.kind, u.meaning)
			}
		}
	}
	for meaning, of := range names {
		if len(of) > 1 {
			t.Errorf("%v have one meaning, %q", slices.Sorted(maps.Keys(of)), meaning)
		}
	}
}

// TestGrammar checks that weights come before images, and that a command of images takes them
// by the name input.
func TestGrammar(t *testing.T) {
	order := []string{"table", "weights", "svm", "index", "descriptors", "config", "a", "b", "content", "style", "photos", "input", "out", "name", "topic", "shell", "dir"}
	for _, command := range parser(t).Model.Leaves(false) {
		last := -1
		for _, p := range command.Positional {
			at := slices.Index(order, p.Name)
			if at < 0 {
				t.Errorf("vgg %s: argument %s, want one of %v", command.Path(), p.Name, order)
			}
			if at < last {
				t.Errorf("vgg %s: argument %s after %s", command.Path(), p.Name, order[last])
			}
			last = at
		}
	}
}

// TestCommandsDocument checks that docs/cli.md has the commands and flags as they are.
// -update rewrites it.
func TestCommandsDocument(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "cli.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(data), tablesBegin)
	_, tail, ended := strings.Cut(rest, tablesEnd)
	if !ok || !ended {
		t.Fatalf("%s has no lines %q and %q", path, tablesBegin, tablesEnd)
	}
	want := head + tablesBegin + tables(parser(t).Model) + tablesEnd + tail
	if want == string(data) {
		return
	}
	if flag.Lookup("update").Value.String() == "true" { // defined for the scripts
		if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s isn't as the commands are; go test ./internal/cli -run TestCommandsDocument -update makes it so", path)
}

const (
	tablesBegin = "<!-- made from the commands: -->\n"
	tablesEnd   = "<!-- end -->\n"
)

// tables writes the commands and their flags as Markdown.
func tables(model *kong.Application) string {
	var b strings.Builder
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	b.WriteString("\n| command | what it does |\n|---|---|\n")
	leaves := model.Leaves(true)
	for _, c := range leaves {
		text := "vgg " + strings.ReplaceAll(c.Path(), "localize images", "localize")
		for _, p := range c.Positional {
			name := strings.ToUpper(p.Name)
			if p.IsCumulative() {
				name += "…"
			}
			if !p.Required {
				name = "[" + name + "]"
			}
			text += " " + name
		}
		for _, f := range c.Flags {
			if f.Required {
				text += " --" + f.Name + " " + f.PlaceHolder
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", text, cell(c.Help))
	}
	flags, of := map[string]*kong.Flag{}, map[string][]string{}
	for _, c := range leaves {
		for _, f := range c.Flags {
			if f.Name == "help" {
				continue
			}
			flags[f.Name] = f
			of[f.Name] = append(of[f.Name], c.Path())
		}
	}
	b.WriteString("\n| flag | what it means | commands |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		f := flags[name]
		text := "--" + name
		switch {
		case !f.IsBool():
			text += " " + f.PlaceHolder
		case f.Tag.Negatable != "":
			text = "--[no-]" + name
		}
		commands := strings.Join(of[name], ", ")
		if len(of[name]) == len(leaves) {
			commands = "all"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(text, "|", `\|`), cell(meaningOf(f.Value)), commands)
	}
	b.WriteByte('\n')
	return b.String()
}
