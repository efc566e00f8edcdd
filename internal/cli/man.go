package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

type manCommand struct {
	Dir string `arg:"" help:"Folder for the pages, which is made if it isn't there."`
	overwriteFlag
}

func (manCommand) Help() string {
	return `Writes the manual pages: vgg.1, a page for each command in man1, and one for each topic of vgg help in man7. A folder on MANPATH, such as ~/.local/share/man, shows them by man vgg.

  - Pages of an earlier version of vgg are replaced. Other files of these names need --overwrite.
  - SOURCE_DATE_EPOCH in the environment sets their date.

Examples:

    vgg man ~/.local/share/man` + exitHelp
}

func (c *manCommand) Run(e *environment) error {
	parser, err := newParser(e, io.Discard, func(int) {})
	if err != nil {
		return err
	}
	b := manBook{model: parser.Model, date: manDate(e.getenv("SOURCE_DATE_EPOCH")), version: programVersion()}
	pages := map[string]string{}
	for name, page := range b.pages() {
		path := filepath.Join(c.Dir, "man"+filepath.Ext(name)[1:], name)
		pages[path] = page
		if isPage(path) {
			continue
		}
		if err := c.free(output{path: path}); err != nil {
			return err
		}
	}
	for path, page := range pages {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := writeFile(path, func(w io.Writer) error { _, err := io.WriteString(w, page); return err }); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(e.stdout, "%d pages in %s\n", len(pages), c.Dir)
	return err
}

// isPage reports whether the file at path is a page that this command wrote.
func isPage(path string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(pageHead))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == pageHead
}

// pageHead is what the pages begin with.
const pageHead = ".TH VGG"

// manDate returns the date of the pages: that of the build's source, if it is known.
func manDate(epoch string) string {
	at := time.Now()
	if seconds, err := strconv.ParseInt(epoch, 10, 64); err == nil {
		at = time.Unix(seconds, 0)
	} else if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
					at = t
				}
			}
		}
	}
	return at.UTC().Format("2006-01-02")
}

// manBook writes manual pages from the model of the commands.
type manBook struct {
	model         *kong.Application
	date, version string
}

// pages returns the pages by the names of their files.
func (b manBook) pages() map[string]string {
	pages := map[string]string{"vgg.1": b.overview()}
	for _, c := range b.model.Leaves(true) {
		pages[pageOf(c)+".1"] = b.command(c)
	}
	for _, t := range topics() {
		pages["vgg-"+t.name+".7"] = b.topic(t)
	}
	return pages
}

// pageOf returns the name of a command's page.
func pageOf(c *kong.Node) string {
	return "vgg-" + strings.ReplaceAll(strings.TrimSuffix(c.Path(), " images"), " ", "-")
}

func (b manBook) head(out *strings.Builder, name, section, about, kind string) {
	fmt.Fprintf(out, ".TH %s %s %s %s %s\n.SH NAME\n%s \\- %s\n", strings.ToUpper(roff(name)), section, `"`+b.date+`"`, quote("vgg "+b.version), quote(kind), roffLine(name), roffLine(lowerFirst(strings.TrimSuffix(about, "."))))
}

// overview is the page of the program.
func (b manBook) overview() string {
	var out strings.Builder
	b.head(&out, "vgg", "1", "The VGG networks of Simonyan & Zisserman: train, evaluate, classify", "User Commands")
	out.WriteString(".SH SYNOPSIS\n.B vgg\n.I COMMAND\n.RI [ WEIGHTS ]\n.RI [ INPUT .\\|.\\|.]\n.RI [ flags ]\n")
	out.WriteString(".SH DESCRIPTION\n")
	roffText(&out, strings.TrimSuffix(b.model.Help, exitHelp))
	out.WriteString(".SH COMMANDS\n")
	for _, c := range b.model.Leaves(true) {
		fmt.Fprintf(&out, ".TP\n.BR %s (1)\n%s\n", roff(pageOf(c)), roff(c.Help))
	}
	out.WriteString(".SH TOPICS\n")
	for _, t := range topics() {
		fmt.Fprintf(&out, ".TP\n.BR %s (7)\n%s\n", roff("vgg-"+t.name), roff(t.title))
	}
	b.end(&out)
	return out.String()
}

// command is the page of a command.
func (b manBook) command(c *kong.Node) string {
	var out strings.Builder
	b.head(&out, pageOf(c), "1", c.Help, "User Commands")
	fmt.Fprintf(&out, ".SH SYNOPSIS\n.B vgg %s\n", roff(strings.TrimSuffix(c.Path(), " images")))
	for _, p := range c.Positional {
		name, dots := strings.ToUpper(p.Name), ""
		if p.IsCumulative() {
			dots = ".\\|.\\|."
		}
		if p.Required {
			fmt.Fprintf(&out, ".I %s%s\n", roff(name), dots)
		} else {
			fmt.Fprintf(&out, ".RI [ %s%s ]\n", roff(name), dots)
		}
	}
	out.WriteString(".RI [ flags ]\n.SH DESCRIPTION\n")
	text, examples, _ := strings.Cut(strings.TrimSuffix(c.Detail, exitHelp), "\n\nExamples:\n\n")
	roffText(&out, text)
	if len(c.Positional) > 0 {
		out.WriteString(".SH ARGUMENTS\n")
		for _, p := range c.Positional {
			fmt.Fprintf(&out, ".TP\n.I %s\n%s\n", roff(strings.ToUpper(p.Name)), roff(p.Help))
		}
	}
	out.WriteString(".SH OPTIONS\n")
	for _, f := range c.Flags {
		name := "\\-\\-" + roff(f.Name)
		switch {
		case f.Tag.Negatable != "":
			fmt.Fprintf(&out, ".TP\n.B \\-\\-[no\\-]%s\n%s\n", roff(f.Name), roff(f.Help))
		case f.IsBool():
			fmt.Fprintf(&out, ".TP\n.B %s\n%s\n", name, roff(f.Help))
		default:
			fmt.Fprintf(&out, ".TP\n.BI %s \" %s\"\n%s\n", name, roff(f.PlaceHolder), roff(f.Help))
		}
	}
	if examples != "" {
		out.WriteString(".SH EXAMPLES\n.nf\n")
		for line := range strings.Lines(examples) {
			fmt.Fprintf(&out, "%s\n", roffLine(strings.TrimSpace(line)))
		}
		out.WriteString(".fi\n")
	}
	b.end(&out)
	return out.String()
}

// topic is the page of a topic.
func (b manBook) topic(t topic) string {
	var out strings.Builder
	b.head(&out, "vgg-"+t.name, "7", t.title, "vgg")
	out.WriteString(".SH DESCRIPTION\n")
	roffText(&out, t.text)
	out.WriteString(".SH SEE ALSO\n.BR vgg (1)\n")
	return out.String()
}

func (b manBook) end(out *strings.Builder) {
	out.WriteString(".SH EXIT STATUS\n")
	roffText(out, strings.TrimSpace(exitHelp))
	out.WriteString(".SH SEE ALSO\n.BR vgg (1),\n.BR vgg\\-data (7),\n.BR vgg\\-weights (7)\n")
}

// roff writes a text in lines, each of which stands for itself.
func roff(s string) string {
	lines := wrap(s, 66)
	for i, line := range lines {
		lines[i] = roffLine(line)
	}
	return strings.Join(lines, "\n")
}

// roffLine writes a line that stands for itself.
func roffLine(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// quote makes one argument of a macro.
func quote(s string) string { return `"` + roffLine(s) + `"` }

// roffText writes paragraphs, lists of "  - " and indented lines, which stay as they are.
func roffText(out *strings.Builder, text string) {
	fresh := true // a heading or a blank line came before
	fixed := false
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		line = strings.TrimRight(line, "\n")
		indented := strings.HasPrefix(line, "    ")
		if fixed && !indented {
			out.WriteString(".fi\n.RE\n")
			fixed = false
		}
		item, listed := strings.CutPrefix(line, "  - ")
		switch {
		case strings.TrimSpace(line) == "":
			fresh = true
			continue
		case indented:
			if !fixed {
				out.WriteString(".PP\n.RS 4\n.nf\n")
				fixed = true
			}
			out.WriteString(roffFixed(line[4:]) + "\n")
		case listed:
			fmt.Fprintf(out, ".IP \\(bu 2\n%s\n", roff(item))
		default:
			if fresh && !strings.HasSuffix(out.String(), "SH DESCRIPTION\n") && !strings.HasSuffix(out.String(), "SH EXIT STATUS\n") {
				out.WriteString(".PP\n")
			}
			out.WriteString(roff(line) + "\n")
		}
		fresh = false
	}
	if fixed {
		out.WriteString(".fi\n.RE\n")
	}
}

// roffFixed is roff of a line that keeps its spaces.
func roffFixed(s string) string {
	lead := len(s) - len(strings.TrimLeft(s, " "))
	words := strings.Split(s[lead:], " ")
	for i, w := range words {
		words[i] = roffLine(w)
	}
	return strings.Repeat(`\ `, lead) + strings.Join(words, " ")
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}
