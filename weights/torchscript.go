package weights

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/pickle"
)

// scriptReader lists the layers of a module of TorchScript. It goes through the code of its
// forward with the activation as a symbol: each operator that takes it becomes a layer.
// Nothing is computed but what conditions on constants choose.
type scriptReader struct {
	functions map[string]*codeFunction
	constants []any                          // CONSTANTS.c0, …
	read      func(t scriptTensor) []float64 // of at most three values; nil of any other
	layers    []Layer
	steps     int
	pixels    pixelMap
	place     string // the line that is run
}

// Values of the code, beside constants and lists of values ([]any).
type (
	// scriptActivation is the output of layer number step, from 1; the input is 0.
	scriptActivation struct{ step int }
	// scriptModule is a module; its tensors have names that begin with prefix.
	scriptModule struct {
		*pickle.Object
		prefix string
	}
	// scriptTensor is a parameter, a buffer, or a constant, which has no name.
	scriptTensor struct {
		name       string
		tensor     *torchTensor
		transposed bool
	}
	// scriptFunction is the name of a function, a method or a namespace.
	scriptFunction struct {
		name string
		self *scriptModule
	}
	// scriptUnknown is what only a run could tell, as of the activation's shape.
	scriptUnknown struct{}
)

// maxScriptSteps bounds the lines that are run, and what is in them.
const maxScriptSteps = 200_000

// scriptError says what isn't understood, and in which line.
type scriptError struct{ place, reason string }

func (e *scriptError) Error() string { return e.place + ": " + e.reason }

func (r *scriptReader) errorf(format string, args ...any) error {
	return &scriptError{r.place, fmt.Sprintf(format, args...)}
}

// describeScript adds the layers of a module of TorchScript to h. Code that isn't
// understood is the last layer, of an operation that says so.
func (a *torchArchive) describeScript(h *header, f *torchFile, root *pickle.Object, size int64) error {
	constants := &torchFile{r: f.r, big: f.big, storages: make(map[string]*torchStorage), find: a.findConstant}
	r := &scriptReader{functions: make(map[string]*codeFunction), read: func(t scriptTensor) []float64 {
		if t.name == "" {
			return constants.small(t.tensor)
		}
		return f.small(t.tensor)
	}}
	for name, m := range a.members {
		file, ok := strings.CutPrefix(name, a.folder+"code/")
		module, isCode := strings.CutSuffix(file, ".py")
		if !ok || !isCode {
			continue
		}
		text, err := zipText(m, size)
		if err != nil {
			return err
		}
		readCode(strings.ReplaceAll(path.Clean(module), "/", "."), string(text), r.functions)
	}
	if m, ok := a.members[a.folder+"constants.pkl"]; ok {
		if m, err := stored(m); err == nil {
			v, _, err := loadPickle(a.r, m.begin, m.end, torchLibrary(constants.persistent))
			if err == nil {
				r.constants = pickle.Items(v)
			}
		}
	}
	err := r.run(root)
	if e, ok := errors.AsType[*scriptError](err); ok {
		r.layers = append(r.layers, Layer{Name: e.place, Op: e.reason})
		h.meta[MetaLayerOrder] = "that of the code, of which a line isn't understood"
		err = nil
	}
	if err != nil {
		return err
	}
	h.layers = r.layers
	delete(h.meta, "torch.normalize")
	return r.pixels.note(h)
}

// run goes through the forward of the whole module.
func (r *scriptReader) run(root *pickle.Object) error {
	self := &scriptModule{root, ""}
	f := r.functions[self.Class.String()+".forward"]
	r.place = self.Class.Name + ".forward"
	if f == nil {
		return r.errorf("no code of it in the file")
	}
	if len(f.parameters) != 2 {
		return r.errorf("%d inputs, want 1", len(f.parameters)-1)
	}
	y, err := r.call(f, []any{self, scriptActivation{}}, nil, 0)
	if err != nil {
		return err
	}
	for {
		list, ok := y.([]any)
		if !ok || len(list) != 1 {
			break
		}
		y = list[0]
	}
	if x, ok := y.(scriptActivation); !ok || x.step != len(r.layers) {
		return r.errorf("returns something else than the output of its last layer")
	}
	return nil
}

// call runs a function.
func (r *scriptReader) call(f *codeFunction, args []any, keys []string, depth int) (any, error) {
	if depth > maxModuleDepth {
		return nil, r.errorf("calls in calls, over %d deep", maxModuleDepth)
	}
	outer := r.place
	defer func() { r.place = outer }()
	s := &scope{scriptReader: r, f: f, values: make(map[string]any), depth: depth}
	for i, p := range f.parameters {
		at := slices.Index(keys, p.name)
		switch {
		case at >= 0:
			s.values[p.name] = args[at]
		case i < len(args) && (i >= len(keys) || keys[i] == ""):
			s.values[p.name] = args[i]
		case p.value == "":
			return nil, r.errorf("%s without an argument %s", display(f.name), display(p.name))
		default:
			e, err := parseCode(p.value)
			if err != nil {
				return nil, r.errorf("default of %s: %v", display(p.name), err)
			}
			if s.values[p.name], err = s.eval(e); err != nil {
				return nil, err
			}
		}
	}
	v, returned, err := s.block(f.lines)
	if err == nil && !returned {
		v = nil
	}
	return v, err
}

// scope is a function that is run.
type scope struct {
	*scriptReader
	f      *codeFunction
	values map[string]any
	depth  int
}

// block runs lines of one indent, with those under conditions.
func (s *scope) block(lines []codeLine) (v any, returned bool, err error) {
	for i := 0; i < len(lines); i++ {
		text := lines[i].text
		if s.steps += 1 + len(text)/16; s.steps > maxScriptSteps {
			return nil, false, s.errorf("over %d steps", maxScriptSteps)
		}
		parts := strings.Split(s.f.name, ".")
		s.place = strings.Join(parts[max(0, len(parts)-2):], ".") + `: "` + display(text) + `"`
		if condition, ok := strings.CutPrefix(text, "if "); ok {
			then, els, rest := branches(lines[i:])
			chosen, err := s.branch(strings.TrimSuffix(condition, ":"), then, els)
			if err != nil {
				return nil, false, err
			}
			if v, returned, err := s.block(chosen); returned || err != nil {
				return v, returned, err
			}
			i = len(lines) - len(rest) - 1
			continue
		}
		if text == "pass" {
			continue
		}
		if strings.HasSuffix(text, ":") {
			return nil, false, s.errorf("no assignment, call or condition")
		}
		if value, ok := strings.CutPrefix(text, "return"); ok {
			e, err := parseCode(value)
			if err != nil {
				return nil, false, s.errorf("%v", err)
			}
			v, err := s.eval(e)
			return v, true, err
		}
		if err := s.assign(text); err != nil {
			return nil, false, err
		}
	}
	return nil, false, nil
}

// branches divides lines that begin with a condition: those under it, those under else, and
// the rest.
func branches(lines []codeLine) (then, els, rest []codeLine) {
	indent := lines[0].indent
	under := func(from int) int {
		n := from
		for n < len(lines) && lines[n].indent > indent {
			n++
		}
		return n
	}
	n := under(1)
	then = lines[1:n]
	if n < len(lines) && lines[n].indent == indent && lines[n].text == "else:" {
		m := under(n + 1)
		return then, lines[n+1 : m], lines[m:]
	}
	return then, nil, lines[n:]
}

// timmMLP is the forward of timm's fully connected layers as convolutions. It enlarges maps that
// are smaller than the first one's filter, which the last map of the network that is read
// isn't: its input has the side that gives that filter's.
const timmMLP = "timm.models.vgg.ConvMlp.forward"

// branch chooses the branch of a condition. Of one that only a run could tell, it is the
// one that raises no error.
func (s *scope) branch(condition string, then, els []codeLine) ([]codeLine, error) {
	e, err := parseCode(condition)
	if err != nil {
		return nil, s.errorf("%v", err)
	}
	v, err := s.eval(e)
	if err != nil {
		return nil, err
	}
	raises := func(lines []codeLine) bool {
		return slices.ContainsFunc(lines, func(l codeLine) bool { return strings.HasPrefix(l.text, "ops.prim.RaiseException(") })
	}
	onlyConstants := func(lines []codeLine) bool { // as in the checks of shapes
		return !slices.ContainsFunc(lines, func(l codeLine) bool { return !strings.HasPrefix(l.text, "_") || strings.Contains(l.text, "forward(") })
	}
	switch b, ok := v.(bool); {
	case ok && b:
		return then, nil
	case ok:
		return els, nil
	case raises(then) && !raises(els):
		return els, nil
	case raises(els) && !raises(then):
		return then, nil
	case onlyConstants(then) && onlyConstants(els):
		for _, l := range slices.Concat(then, els) { // what they assign is unknown, too
			if name, _, ok := strings.Cut(l.text, " = "); ok {
				s.values[name] = scriptUnknown{}
			}
		}
		return nil, nil
	}
	if _, unknown := v.(scriptUnknown); unknown && strings.HasSuffix(s.f.name, timmMLP) {
		return els, nil
	}
	return nil, s.errorf("a condition that only a run could tell")
}

// assign runs a line that is an assignment or an expression.
func (s *scope) assign(text string) error {
	names, value, ok := strings.Cut(text, " = ")
	if ok && strings.ContainsAny(names, `("`) {
		names, value, ok = "", text, false
	}
	if !ok {
		names, value = "", text
	}
	e, err := parseCode(value)
	if err != nil {
		return s.errorf("%v", err)
	}
	v, err := s.eval(e)
	if err != nil || names == "" {
		return err
	}
	if !strings.Contains(names, ",") {
		name, _, _ := strings.Cut(names, " :") // an annotation
		s.values[strings.TrimSpace(name)] = v
		return nil
	}
	list, isList := v.([]any)
	for i, name := range strings.Split(strings.Trim(names, "(), "), ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
		case isList && i < len(list):
			s.values[name] = list[i]
		case isList:
			return s.errorf("too few values")
		default:
			s.values[name] = scriptUnknown{}
		}
	}
	return nil
}

// eval returns the value of an expression.
func (s *scope) eval(e *codeExpr) (any, error) {
	if s.steps++; s.steps > maxScriptSteps {
		return nil, s.errorf("over %d steps", maxScriptSteps)
	}
	switch e.kind {
	case 'c':
		return e.constant, nil
	case 'n':
		if v, ok := s.values[e.name]; ok {
			return v, nil
		}
		return scriptFunction{name: e.name}, nil
	case 'l':
		list := make([]any, 0, len(e.args))
		for _, a := range e.args {
			v, err := s.eval(a)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case 'a':
		of, err := s.eval(e.of)
		if err != nil {
			return nil, err
		}
		return s.attribute(of, e.name)
	case 's':
		return s.subscript(e)
	}
	return s.evalCall(e)
}

// attribute returns what name is of a value.
func (s *scope) attribute(of any, name string) (any, error) {
	switch of := of.(type) {
	case scriptFunction:
		if of.name == "CONSTANTS" {
			var i int
			if _, err := fmt.Sscanf(name, "c%d", &i); err != nil || i < 0 || i >= len(s.constants) {
				return nil, s.errorf("no constant %s", display(name))
			}
			if t, ok := s.constants[i].(*torchTensor); ok {
				return scriptTensor{tensor: t}, nil
			}
			return scriptUnknown{}, nil
		}
		return scriptFunction{name: of.name + "." + name}, nil
	case *scriptModule:
		if s.functions[of.Class.String()+"."+name] != nil {
			return scriptFunction{name: of.Class.String() + "." + name, self: of}, nil
		}
		switch v := of.Attributes.Get(name).(type) {
		case *pickle.Object:
			return &scriptModule{v, of.prefix + name + "."}, nil
		case *torchTensor:
			return scriptTensor{name: of.prefix + name, tensor: v}, nil
		case bool:
			if name == "training" { // the network is used, whatever it was saved in
				return false, nil
			}
			return v, nil
		case nil, int64, float64, string:
			return v, nil
		case *pickle.List, *pickle.Tuple:
			var list []any
			for _, x := range torchNumbers(v) {
				list = append(list, x)
			}
			return list, nil
		}
	}
	return scriptUnknown{}, nil
}

// subscript returns an element of a list; of a type, the type.
func (s *scope) subscript(e *codeExpr) (any, error) {
	of, err := s.eval(e.of)
	if err != nil {
		return nil, err
	}
	switch of := of.(type) {
	case scriptFunction:
		return of, nil
	case []any:
		i, err := s.eval(e.args[0])
		n, ok := i.(int64)
		if ok && n < 0 {
			n += int64(len(of))
		}
		if err != nil || !ok || n < 0 || n >= int64(len(of)) {
			return scriptUnknown{}, err
		}
		return of[n], nil
	case scriptActivation:
		return nil, s.errorf("a part of the activation")
	}
	return scriptUnknown{}, nil
}

// evalCall returns the value of a call.
func (s *scope) evalCall(e *codeExpr) (any, error) {
	of, err := s.eval(e.of)
	if err != nil {
		return nil, err
	}
	f, ok := of.(scriptFunction)
	if !ok {
		return nil, s.errorf("a call of no function")
	}
	switch f.name {
	case "annotate", "unchecked_cast", "uninitialized":
		if len(e.args) < 2 {
			return scriptUnknown{}, nil
		}
		return s.eval(e.args[1])
	}
	args := make([]any, len(e.args))
	for i, a := range e.args {
		if args[i], err = s.eval(a); err != nil {
			return nil, err
		}
	}
	if f.name == "getattr" && len(args) == 2 {
		name, _ := args[1].(string)
		return s.attribute(args[0], name)
	}
	if name, ok := strings.CutPrefix(f.name, "__torch__.torch.nn.functional."); ok {
		if order, ok := scriptFunctional[name]; ok {
			return s.operator(order.op, order.arguments(args))
		}
	}
	if code := s.functions[f.name]; code != nil {
		if f.self != nil {
			args, e = append([]any{f.self}, args...), &codeExpr{keys: append([]string{""}, e.keys...)}
		}
		return s.call(code, args, e.keys, s.depth+1)
	}
	args, err = s.positional(f.name, args, e.keys)
	if err != nil {
		return nil, err
	}
	return s.operator(f.name, args)
}

// positional returns the arguments that have no name. Those with one must not change what
// an operator does.
func (s *scope) positional(name string, args []any, keys []string) ([]any, error) {
	n := len(args)
	for i, key := range keys {
		if key == "" {
			continue
		}
		n = min(n, i)
		switch {
		case args[i] == nil || key == "approximate" && args[i] == "none" || key == "alpha" && slices.Equal(scriptNumbers(args[i]), []float64{1}):
		case slices.Contains([]string{"dtype", "memory_format", "keepdim", "device", "pin_memory", "layout"}, key):
		default:
			return nil, s.errorf("%s with %s %v", display(name), display(key), args[i])
		}
	}
	return args[:n], nil
}
