package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// parser returns the parser of the command line, for its model.
func parser(t *testing.T) *kong.Kong {
	t.Helper()
	k, err := newParser(&environment{stderr: io.Discard}, io.Discard, func(code int) { t.Errorf("the parser exits with %d", code) })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// weightsArguments are the commands that take weights, by name or file, with the arguments
// and flags that do.
var weightsArguments = map[string][]string{
	"classify":         {"weights"},
	"convert":          {"weights"},
	"distance":         {"--net"},
	"eval":             {"weights", "--with"},
	"explain":          {"weights"},
	"features":         {"weights", "--with"},
	"index":            {"weights", "--with"},
	"inspect":          {"weights"},
	"localize eval":    {"weights", "--with", "--classifier"},
	"localize images":  {"weights", "--with", "--classifier"},
	"localize train":   {"--init-from"},
	"reproduce":        {"weights"},
	"serve":            {"weights"},
	"similar":          {"--weights"},
	"stylise":          {"--net"},
	"summary":          {"config"},
	"teach":            {"--net"},
	"train":            {"--init-from"},
	"transfer predict": {"--weights"},
}

// TestWeightsArguments checks that every command that takes weights takes releases too: it
// has --source and --offline.
func TestWeightsArguments(t *testing.T) {
	positional := []string{"weights", "config"}
	named := []string{"weights", "with", "classifier", "init-from", "net"}
	found := map[string][]string{}
	for _, command := range parser(t).Model.Leaves(false) {
		path := command.Path()
		if path == "bench" { // a configuration, never a file
			continue
		}
		flags := map[string]bool{}
		for _, p := range command.Positional {
			if slices.Contains(positional, p.Name) {
				found[path] = append(found[path], p.Name)
			}
		}
		for _, f := range command.Flags {
			flags[f.Name] = true
			if slices.Contains(named, f.Name) || f.PlaceHolder == "WEIGHTS" {
				found[path] = append(found[path], "--"+f.Name)
			}
		}
		slices.SortFunc(found[path], func(a, b string) int { return strings.Compare(b, a) }) // arguments before flags
		if len(found[path]) > 0 && !(flags["source"] && flags["offline"]) {
			t.Errorf("vgg %s takes weights by %v, but has no --source and --offline", path, found[path])
		}
		if want := weightsArguments[path]; !slices.Equal(found[path], want) {
			t.Errorf("vgg %s takes weights by %v, want %v", path, found[path], want)
		}
	}
	for path := range weightsArguments {
		if _, ok := found[path]; !ok {
			t.Errorf("no command vgg %s", path)
		}
	}
}

// TestExamples checks that the help of every command ends with examples and the exit codes,
// and that the examples can be parsed.
func TestExamples(t *testing.T) {
	leaves := parser(t).Model.Leaves(false)
	if len(leaves) < 20 {
		t.Fatalf("%d commands, want all", len(leaves))
	}
	groups := slices.DeleteFunc(slices.Clone(parser(t).Model.Children), func(n *kong.Node) bool { return len(n.Children) == 0 })
	for _, command := range append(groups, leaves...) {
		path := command.Path()
		text, ok := strings.CutSuffix(command.Detail, exitHelp)
		if !ok {
			t.Errorf("the help of %s doesn't end with the exit codes", path)
		}
		_, block, ok := strings.Cut(text, "\n\nExamples:\n\n")
		if !ok {
			t.Errorf("the help of %s has no examples", path)
			continue
		}
		own := 0
		for line := range strings.Lines(block) {
			commands := commandsOf(strings.TrimSpace(line))
			if !strings.HasPrefix(line, "    vgg ") || len(commands) != 1 {
				t.Errorf("%s: example %q, want a command line of vgg", path, line)
				continue
			}
			parsed, err := parser(t).Parse(commands[0]) // a parser that was used keeps some state
			if err != nil {
				t.Errorf("%s: example %q: %v", path, line, err)
				continue
			}
			if selected := parsed.Selected(); selected == command || selected.Path() == path || len(command.Children) > 0 && selected.Parent.Path() == path {
				own++
			}
		}
		if own == 0 {
			t.Errorf("%s: no example is of this command", path)
		}
	}
}

// TestTopics checks that every text of vgg help has a title and a text, that its commands can
// be parsed, and that the files it names are there.
func TestTopics(t *testing.T) {
	all := topics()
	if len(all) < 5 {
		t.Fatalf("%d topics, want all", len(all))
	}
	for _, topic := range all {
		if !strings.HasSuffix(topic.title, ".") || topic.text == "" {
			t.Errorf("%s: title %q and %d bytes of text, want a sentence and a text", topic.name, topic.title, len(topic.text))
		}
		for line := range strings.Lines(topic.text) {
			for _, args := range commandsOf(strings.TrimSpace(line)) {
				if !strings.HasPrefix(line, "    ") {
					continue
				}
				if _, err := parser(t).Parse(args); err != nil {
					t.Errorf("%s: example %q: %v", topic.name, line, err)
				}
			}
		}
		for _, file := range regexp.MustCompile(`docs/[a-z]+\.md`).FindAllString(topic.text, -1) {
			if _, err := os.Stat(filepath.Join("..", "..", file)); err != nil {
				t.Errorf("%s: %v", topic.name, err)
			}
		}
		if slices.ContainsFunc(parser(t).Model.Children, func(n *kong.Node) bool { return n.Name == topic.name }) {
			t.Errorf("%s is a topic and a command", topic.name)
		}
	}
}
