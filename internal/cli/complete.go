package cli

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/releases"
	"github.com/verydeep/vgg/releases/pull"
	"github.com/verydeep/vgg/reproduce"
	"github.com/verydeep/vgg/train"
	"github.com/verydeep/vgg/weights"
)

// completeWord begins the hidden command line by which a shell asks for completions:
//
//	vgg __complete =CURRENT WORD…
//
// CURRENT is the word that is completed, up to the cursor, and the others precede it on the
// command line. The answer has a line for each candidate, with a description behind a tab, and
// at its end :files, :dirs or :none for the names of files that the shell is to add.
const completeWord = "__complete"

// candidate is a word that a shell may put in the place of the current one.
type candidate struct{ word, about string }

// wants are the files that a shell is to add to the candidates.
type wants string

const (
	wantFiles wants = ":files"
	wantDirs  wants = ":dirs"
	wantNone  wants = ":none"
)

// complete answers a shell. What it can't find out it leaves out: a shell has no place for
// errors.
func (e *environment) complete(args []string) error {
	parser, err := newParser(e, io.Discard, func(int) {})
	if err != nil {
		return err
	}
	current := ""
	if len(args) > 0 {
		current, args = unquoted(strings.TrimPrefix(args[0], "=")), args[1:]
	}
	words := make([]string, len(args))
	for i, word := range args {
		words[i] = unquoted(word)
	}
	c := completion{env: e, node: parser.Model.Node, current: current, values: map[string]string{}}
	found, files := c.candidates(words)
	seen := map[string]bool{}
	for _, f := range found {
		if !strings.HasPrefix(f.word, current) || seen[f.word] {
			continue
		}
		seen[f.word] = true
		if f.about != "" {
			f.word += "\t" + f.about
		}
		fmt.Fprintln(e.stdout, f.word)
	}
	_, err = fmt.Fprintln(e.stdout, files)
	return err
}

// unquoted undoes what a shell's quotes and backslashes do to a word, in the plain cases.
func unquoted(word string) string {
	if n := len(word); n > 1 && (word[0] == '\'' || word[0] == '"') && word[n-1] == word[0] {
		return word[1 : n-1]
	}
	if os.PathSeparator == '\\' {
		return word
	}
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		if word[i] == '\\' && i+1 < len(word) {
			i++
		}
		b.WriteByte(word[i])
	}
	return strings.TrimLeft(b.String(), `'"`)
}

// completion is the state of a command line before the word that is completed.
type completion struct {
	env     *environment
	node    *kong.Node
	current string
	values  map[string]string // of arguments and flags, the last of each
	at      int               // of the next argument
	bare    bool              // behind --
}

// candidates returns what may be in the place of the current word.
func (c *completion) candidates(words []string) ([]candidate, wants) {
	if len(words) > 0 && words[0] == "help" {
		return helpWords(c.node, words[1:]), wantNone
	}
	var pending *kong.Flag
	for _, word := range words {
		if pending != nil {
			c.values["--"+pending.Name], pending = word, nil
			continue
		}
		pending = c.take(word)
	}
	if pending != nil {
		return c.flagValues(pending, "")
	}
	if !c.bare && strings.HasPrefix(c.current, "-") && c.current != stdinName {
		if name, _, ok := strings.Cut(c.current, "="); ok {
			if f := c.flag(name); f != nil {
				return c.flagValues(f, name+"=")
			}
			return nil, wantNone
		}
		return c.flags(), wantNone
	}
	return c.arguments()
}

// take goes over a word. It returns the flag whose value is the next word, or nil.
func (c *completion) take(word string) *kong.Flag {
	switch {
	case c.bare:
	case word == "--":
		c.bare = true
		return nil
	case strings.HasPrefix(word, "-") && word != stdinName:
		name, value, given := strings.Cut(word, "=")
		f := c.flag(name)
		if f == nil || given || f.IsBool() {
			c.values[name] = value
			return nil
		}
		return f
	default:
		for _, child := range c.node.Children {
			if child.Name == word && c.at == 0 {
				c.node = child
				return nil
			}
		}
	}
	c.descend()
	if c.at < len(c.node.Positional) {
		p := c.node.Positional[c.at]
		c.values[p.Name] = word
		if !p.IsCumulative() {
			c.at++
		}
	}
	return nil
}

// descend goes on to the command that needs no word of its own.
func (c *completion) descend() {
	if c.node.DefaultCmd != nil {
		c.node = c.node.DefaultCmd
	}
}

// flag returns the flag of that name, with its dashes.
func (c *completion) flag(name string) *kong.Flag {
	for _, node := range []*kong.Node{c.node, c.node.DefaultCmd} {
		if node == nil {
			continue
		}
		for _, f := range node.Flags {
			if "--"+f.Name == name {
				return f
			}
		}
	}
	return nil
}

// flags returns the flags of the command. Those that were given come last.
func (c *completion) flags() []candidate {
	c.descend()
	var list, given []candidate
	for _, f := range c.node.Flags {
		to := &list
		if _, ok := c.values["--"+f.Name]; ok {
			to = &given
		}
		about := meaningOf(f.Value)
		*to = append(*to, candidate{"--" + f.Name, about})
		if f.Tag.Negatable != "" {
			*to = append(*to, candidate{"--no-" + f.Name, "Not: " + about})
		}
	}
	return append(append(list, given...), candidate{"--help", "Show help"})
}

// flagValues returns the values that a flag may have, behind what precedes them in the word.
func (c *completion) flagValues(f *kong.Flag, before string) ([]candidate, wants) {
	found, files := c.valuesOf(f.Name, f.PlaceHolder, f.Value)
	for i := range found {
		found[i].word = before + found[i].word
	}
	return found, files
}

// arguments returns the commands, or the values that the next argument may have.
func (c *completion) arguments() ([]candidate, wants) {
	var found []candidate
	if c.at == 0 {
		for _, child := range c.node.Children {
			if !child.Hidden {
				found = append(found, candidate{child.Name, child.Help})
			}
		}
	}
	c.descend()
	if c.at >= len(c.node.Positional) {
		if len(found) == 0 {
			return c.flags(), wantNone
		}
		return found, wantNone
	}
	p := c.node.Positional[c.at]
	values, files := c.valuesOf(p.Name, "", p)
	return append(found, values...), files
}

// valuesOf returns the values of an argument or a flag, by its name and by what its
// placeholder stands for.
func (c *completion) valuesOf(name, holder string, v *kong.Value) ([]candidate, wants) {
	switch name {
	case "weights", "with", "classifier", "init-from":
		if c.node.Name == "reproduce" {
			return nil, wantDirs
		}
		return releaseNames(), wantFiles
	case "config":
		return plain(configurations()...), wantFiles
	case "name":
		return releaseNames(), wantNone
	case "table":
		return plain(append(reproduce.PlanNames(), reproduce.TransferPlanNames()...)...), wantFiles
	case "shell":
		return plain(shells()...), wantNone
	case "data", "input":
		return []candidate{{sampleName, "The built-in photographs"}}, wantFiles
	case "recipe":
		return plain(train.RecipeNames()...), wantFiles
	case "layer", "freeze":
		return plain(c.layers()...), wantNone
	case "class":
		return plain(c.classes()...), wantNone
	case "init":
		return plain(string(network.He), string(network.Glorot), string(network.Normal01), string(network.Normal001)), wantNone
	case "init-rule":
		return plain(string(train.FineTune), string(train.PreInitialisation)), wantNone
	case "resize":
		return plain("keep", "squash"), wantNone
	case "orient":
		return plain("upright", "stored"), wantNone
	case "protocol":
		if v.Enum == "" {
			return plain("centre", "dense", "multi-crop", "multi-crop-dense", "ten-crop"), wantNone
		}
	case "preprocess":
		return plain("vgg", "caffe", "keras", "torchvision", "unit"), wantNone
	case "labels":
		return plain("imagenet"), wantFiles
	case "out", "dir":
		if holder == "DIR" || name == "dir" {
			return nil, wantDirs
		}
		return nil, wantFiles
	}
	if v.Enum != "" {
		return plain(v.EnumSlice()...), wantNone
	}
	switch holder {
	case "FILE", "PATH":
		return nil, wantFiles
	case "DIR":
		return nil, wantDirs
	case "": // an argument
		return nil, wantFiles
	}
	return nil, wantNone
}

func plain(words ...string) []candidate {
	var found []candidate
	for _, w := range words {
		if w != "" {
			found = append(found, candidate{word: w})
		}
	}
	return found
}

// configurations returns the names of Table 1, with their normalised forms.
func configurations() []string {
	var names []string
	for _, n := range architecture.Names() {
		for _, form := range []string{n, n + "-BN", n + "-LRN"} {
			if canonical, err := architecture.Canonical(form); err == nil && !slices.Contains(names, canonical) {
				names = append(names, canonical)
			}
		}
	}
	return names
}

// releaseNames returns the names of the public releases, with their publishers.
func releaseNames() []candidate {
	by := map[string][]string{}
	for _, r := range releases.All() {
		by[r.FullName()] = append(by[r.FullName()], r.Source)
	}
	var found []candidate
	for _, name := range slices.Sorted(maps.Keys(by)) {
		found = append(found, candidate{name, "Public weights by " + strings.Join(by[name], ", ")})
	}
	return found
}

// described describes the weights that the command line names, from the file's header. A
// release that isn't here has its configuration alone.
func (c *completion) described() *vgg.Description {
	name := c.values["weights"]
	if name == "" {
		name = c.values["--init-from"]
	}
	if name == "" {
		name = c.values["--config"]
	}
	spec, err := parseNet(name)
	if err != nil || name == "" {
		return nil
	}
	path := spec.name
	source := c.values["--source"]
	if source == "" {
		source = "torchvision"
	}
	if _, err := os.Stat(path); err != nil {
		r, err := releases.Find(path, source)
		if err != nil {
			return &vgg.Description{Options: network.DefaultOptions(path)}
		}
		dir, _ := pull.DefaultDir()
		if path = pull.Path(dir, r); dir == "" || !exists(path) {
			return &vgg.Description{Options: network.DefaultOptions(r.Name)}
		}
	}
	f, err := weights.Open(c.env.ctx, path)
	if err != nil {
		return nil
	}
	defer f.Close()
	d, err := vgg.Identify(c.env.ctx, f, vgg.OpenOptions{Config: c.values["--config"], Preprocess: "unit"})
	if err != nil {
		return nil
	}
	return d
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// layers returns the names of the layers of the weights, or of configuration D.
func (c *completion) layers() []string {
	o := network.DefaultOptions("D")
	if d := c.described(); d != nil {
		o = d.Options
	}
	s, err := network.Summarise(o)
	if err != nil {
		return nil
	}
	var names []string
	for _, l := range s.Layers {
		names = append(names, l.Name)
	}
	return names
}

// classes returns the classes that the weights tell.
func (c *completion) classes() []string {
	if d := c.described(); d != nil {
		return d.Classes
	}
	return nil
}

// helpWords returns what may follow the words behind vgg help: topics and commands.
func helpWords(app *kong.Node, words []string) []candidate {
	node := app
	for _, word := range words {
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		if i < 0 {
			return nil
		}
		node = node.Children[i]
	}
	var found []candidate
	if node == app {
		for _, t := range topics() {
			found = append(found, candidate{t.name, t.title})
		}
	}
	for _, child := range node.Children {
		if !child.Hidden {
			found = append(found, candidate{child.Name, child.Help})
		}
	}
	return found
}
