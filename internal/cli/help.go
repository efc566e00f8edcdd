package cli

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// helpTopics are the texts of vgg help TOPIC, by name. The first line of each is its title.
//
//go:embed topics/*.txt
var helpTopics embed.FS

// topic is a text about something that several commands share.
type topic struct{ name, title, text string }

// topics returns all topics, by name.
func topics() []topic {
	names, err := fs.Glob(helpTopics, "topics/*.txt")
	if err != nil {
		panic(err)
	}
	var all []topic
	for _, name := range names {
		data, err := helpTopics.ReadFile(name)
		if err != nil {
			panic(err)
		}
		title, text, _ := strings.Cut(string(data), "\n\n")
		all = append(all, topic{strings.TrimSuffix(path.Base(name), ".txt"), title, text})
	}
	return all
}

// topicList names the topics.
func topicList() string {
	var names []string
	for _, t := range topics() {
		names = append(names, t.name)
	}
	return strings.Join(names, ", ")
}

type helpCommand struct {
	Topic []string `arg:"" optional:"" name:"topic" help:"Topic, or a command: ${topics}."`
}

func (helpCommand) Help() string {
	return `Shows a text about something that several commands share, or the help of a command. Without an argument it lists topics and commands.

Examples:

    vgg help
    vgg help data
    vgg help localize train` + exitHelp
}

func (c *helpCommand) Run(e *environment) error {
	if len(c.Topic) == 0 {
		return e.help(e.stdout)
	}
	if len(c.Topic) == 1 {
		for _, t := range topics() {
			if t.name == c.Topic[0] {
				_, err := fmt.Fprintf(e.stdout, "%s\n\n%s", t.title, filled(t.text))
				return err
			}
		}
	}
	return e.help(e.stdout, c.Topic...)
}

// filled breaks the paragraphs and the items of a text into lines for a terminal. Indented
// lines stay as they are.
func filled(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		item, listed := strings.CutPrefix(line, "  - ")
		first, next := "", ""
		switch {
		case listed:
			line, first, next = item, "  - ", "    "
		case strings.HasPrefix(line, " "):
			fmt.Fprintln(&b, line)
			continue
		}
		for _, part := range wrap(line, inspectWidth-len(first)) {
			fmt.Fprintln(&b, strings.TrimRight(first+part, " "))
			first = next
		}
	}
	return b.String()
}

// help writes the help of a command or, without words, of all.
func (e *environment) help(w io.Writer, words ...string) error {
	helped := false
	parser, err := newParser(e, w, func(int) { helped = true })
	if err != nil {
		return err
	}
	node := parser.Model.Node
	for _, word := range words {
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		if i < 0 {
			return usagef("help: %q: no topic and no command, want one of %s, or a command (vgg --help lists them)", strings.Join(words, " "), topicList())
		}
		node = node.Children[i]
	}
	if _, err := parser.Parse(append(slices.Clone(words), "--help")); err != nil && !helped {
		return err
	}
	return nil
}
