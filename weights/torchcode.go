package weights

import (
	"fmt"
	"strconv"
	"strings"
)

// The code in a TorchScript archive is a small subset of Python: classes with methods and
// functions, whose bodies are assignments, calls, conditions and a return. What else there
// may be isn't read, and is an error where it would be run.

// codeFunction is a function or a method: its parameters, with their defaults, and its body,
// line by line.
type codeFunction struct {
	name       string // with that of its class and module
	parameters []codeParameter
	lines      []codeLine
}

type codeParameter struct{ name, value string } // value is the default; "" if there is none

// codeLine is a line of a body, with the lines that it continues on.
type codeLine struct {
	indent int
	text   string
}

// readCode adds the functions and methods of a text, which is the module of that name, to
// all.
func readCode(module, text string, all map[string]*codeFunction) {
	class := ""
	var f *codeFunction
	for _, l := range codeLines(text) {
		name, isClass := strings.CutPrefix(l.text, "class ")
		head, isFunction := strings.CutPrefix(l.text, "def ")
		switch {
		case l.indent == 0 && isClass:
			end := strings.IndexAny(name, "(:")
			class, f = module+"."+name[:max(end, 0)], nil
		case isFunction && l.indent <= 2:
			owner := class
			if l.indent == 0 {
				owner, class = module, ""
			}
			f = readSignature(owner, head)
			all[f.name] = f
		case f != nil:
			f.lines = append(f.lines, l)
		}
	}
}

// codeLines joins the lines of a text where brackets are open, and drops empty ones.
func codeLines(text string) []codeLine {
	var lines []codeLine
	depth, open := 0, false
	for line := range strings.Lines(text) {
		body := strings.TrimLeft(line, " ")
		indent := len(line) - len(body)
		body = strings.TrimSpace(body)
		if body == "" {
			continue
		}
		if open {
			lines[len(lines)-1].text += " " + body
		} else {
			lines = append(lines, codeLine{indent, body})
		}
		quoted := false
		for i := 0; i < len(body); i++ {
			switch c := body[i]; {
			case c == '"':
				quoted = !quoted
			case c == '\\' && quoted:
				i++
			case quoted:
			case strings.IndexByte("([{", c) >= 0:
				depth++
			case strings.IndexByte(")]}", c) >= 0:
				depth--
			}
		}
		open = depth > 0
	}
	return lines
}

// readSignature reads "forward(self: T, input: Tensor, inplace: bool=False) -> Tensor:".
func readSignature(owner, head string) *codeFunction {
	name, rest, _ := strings.Cut(head, "(")
	f := &codeFunction{name: owner + "." + name}
	if end := strings.LastIndex(rest, ")"); end >= 0 {
		rest = rest[:end]
	}
	depth, start := 0, 0
	add := func(text string) {
		name, value, _ := strings.Cut(text, "=")
		name, _, _ = strings.Cut(name, ":")
		if name = strings.TrimSpace(name); name != "" {
			f.parameters = append(f.parameters, codeParameter{name, strings.TrimSpace(value)})
		}
	}
	for i := range len(rest) {
		switch rest[i] {
		case '[', '(':
			depth++
		case ']', ')':
			depth--
		case ',':
			if depth == 0 {
				add(rest[start:i])
				start = i + 1
			}
		}
	}
	add(rest[start:])
	return f
}

// codeExpr is an expression.
type codeExpr struct {
	kind byte // n name, c constant, a attribute, f call, l list or tuple, s subscript
	name string
	// constant is the value of a constant: nil, bool, int64, float64 or string.
	constant any
	of       *codeExpr // of an attribute, a call or a subscript
	args     []*codeExpr
	keys     []string // of arguments by name, "" of the others
}

// codeParser reads expressions.
type codeParser struct {
	text  string
	at    int
	depth int
}

// parseCode reads a whole text as an expression.
func parseCode(text string) (*codeExpr, error) {
	p := &codeParser{text: text}
	e, err := p.tuple(0)
	if err == nil && p.at < len(p.text) {
		err = fmt.Errorf("%q", p.text[p.at:])
	}
	return e, err
}

func (p *codeParser) space() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
}

// take reads a character if it follows.
func (p *codeParser) take(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// tuple reads what is between brackets, or a whole text if end is 0: a single expression
// without a comma is itself.
func (p *codeParser) tuple(end byte) (*codeExpr, error) {
	list, comma, err := p.items(end)
	if err == nil && len(list.args) == 1 && !comma && list.keys[0] == "" {
		return list.args[0], nil
	}
	return list, err
}

// items reads expressions with commas between them, up to the character end, or to the end
// of the text if that is 0. comma tells whether there was one.
func (p *codeParser) items(end byte) (list *codeExpr, comma bool, err error) {
	list = &codeExpr{kind: 'l'}
	for {
		p.space()
		if p.at == len(p.text) && end != 0 {
			return nil, false, fmt.Errorf("an open bracket")
		}
		if p.at == len(p.text) || p.text[p.at] == end {
			break
		}
		key := ""
		if rest := p.text[p.at:]; end == ')' {
			if n := wordLength(rest); n > 0 && n < len(rest)-1 && rest[n] == '=' && rest[n+1] != '=' {
				key, p.at = rest[:n], p.at+n+1
			}
		}
		e, err := p.expression()
		if err != nil {
			return nil, false, err
		}
		list.args, list.keys = append(list.args, e), append(list.keys, key)
		if !p.take(',') {
			break
		}
		comma = true
	}
	if end != 0 && !p.take(end) {
		return nil, false, fmt.Errorf("%q, want %q", p.text[p.at:], string(end))
	}
	return list, comma, nil
}

// wordLength returns the length of the name that a text begins with.
func wordLength(s string) int {
	n := 0
	for n < len(s) && (s[n] == '_' || s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return n
}

// expression reads a value with the attributes, calls and subscripts behind it.
func (p *codeParser) expression() (*codeExpr, error) {
	if p.depth++; p.depth > maxModuleDepth {
		return nil, fmt.Errorf("too deep an expression")
	}
	defer func() { p.depth-- }()
	e, err := p.primary()
	for err == nil {
		switch {
		case p.take('.'):
			n := wordLength(p.text[p.at:])
			e = &codeExpr{kind: 'a', of: e, name: p.text[p.at : p.at+n]}
			if p.at += n; n == 0 {
				err = fmt.Errorf("a dot without a name")
			}
		case p.take('('):
			var args *codeExpr
			if args, _, err = p.items(')'); err == nil {
				e = &codeExpr{kind: 'f', of: e, args: args.args, keys: args.keys}
			}
		case p.take('['):
			var index *codeExpr
			if index, err = p.tuple(']'); err == nil {
				e = &codeExpr{kind: 's', of: e, args: []*codeExpr{index}}
			}
		default:
			return e, nil
		}
	}
	return nil, err
}

var codeConstants = map[string]any{"None": nil, "True": true, "False": false}

func (p *codeParser) primary() (*codeExpr, error) {
	p.space()
	rest := p.text[p.at:]
	if n := wordLength(rest); n > 0 {
		p.at += n
		if v, ok := codeConstants[rest[:n]]; ok {
			return &codeExpr{kind: 'c', constant: v}, nil
		}
		return &codeExpr{kind: 'n', name: rest[:n]}, nil
	}
	switch {
	case p.take('('):
		return p.tuple(')')
	case p.take('['):
		list, _, err := p.items(']')
		return list, err
	case strings.HasPrefix(rest, `"`):
		for n := 1; n < len(rest); n++ {
			if rest[n] == '\\' {
				n++
			} else if rest[n] == '"' {
				p.at += n + 1
				return &codeExpr{kind: 'c', constant: rest[1:n]}, nil
			}
		}
	default:
		n := strings.IndexFunc(rest, func(c rune) bool { return !strings.ContainsRune("0123456789.+-einf", c) })
		if n < 0 {
			n = len(rest)
		}
		if i, err := strconv.ParseInt(rest[:n], 10, 64); err == nil {
			p.at += n
			return &codeExpr{kind: 'c', constant: i}, nil
		}
		if x, err := strconv.ParseFloat(rest[:n], 64); err == nil {
			p.at += n
			return &codeExpr{kind: 'c', constant: x}, nil
		}
	}
	return nil, fmt.Errorf("%q", rest)
}
