package pickle

import (
	"slices"
	"strings"
)

// object carries out the opcodes that name, call and fill what a Python program defines
// for itself: classes, functions and instances.
//
// A class or function is only ever its name. An instance of any class can be made: its
// attributes and nothing else. Of functions, those of call and of the library can be
// called, and any other is an error.
func (m *machine) object(op byte) (known bool, err error) {
	switch op {
	case opGlobal:
		g, err := m.readGlobal()
		return true, m.push(g, 32, err)
	case opStackGlobal:
		g, err := m.popGlobal()
		return true, m.push(g, 32, err)
	case opInst:
		return true, m.inst()
	case opReduce:
		return true, m.reduce()
	case opNewObj:
		return true, m.newObject()
	case opNewObjEx:
		if _, err := m.pop(); err != nil { // keyword arguments
			return true, err
		}
		return true, m.newObject()
	case opObj:
		return true, m.newObjectOfMark()
	case opBuild:
		return true, m.build()
	case opPersID:
		id, err := m.line(maxNameLength)
		return true, m.persistent(id, err)
	case opBinPersID:
		id, err := m.pop()
		return true, m.persistent(id, err)
	}
	return false, nil
}

// readGlobal reads the name of a class or function from two lines.
func (m *machine) readGlobal() (Global, error) {
	module, err := m.line(maxNameLength)
	if err != nil {
		return Global{}, err
	}
	name, err := m.line(maxNameLength)
	if err != nil {
		return Global{}, err
	}
	return global(module, name)
}

// popGlobal takes the name of a class or function from the stack.
func (m *machine) popGlobal() (Global, error) {
	names, err := m.popN(2)
	if err != nil {
		return Global{}, err
	}
	module, ok := names[0].(string)
	name, also := names[1].(string)
	if !ok || !also || len(module) > maxNameLength || len(name) > maxNameLength {
		return Global{}, Errorf("a class without a name")
	}
	return global(module, name)
}

// inst makes an instance of a class that two lines name, with arguments down to the last
// mark.
func (m *machine) inst() error {
	class, err := m.readGlobal()
	if err != nil {
		return err
	}
	_, err = m.popToMark()
	return m.push(&Object{Class: class}, 160, err)
}

// reduce calls the function that is on the stack under a tuple of its arguments.
func (m *machine) reduce() error {
	function, args, err := m.popCall()
	if err != nil {
		return err
	}
	if len(args) > 0 {
		m.spent += 32 * int64(len(Items(args[0]))) // which the call may copy
	}
	v, err := m.call(function, args)
	return m.pushMade(v, err)
}

// newObject makes an instance of the class that is on the stack under a tuple of
// arguments.
func (m *machine) newObject() error {
	class, args, err := m.popCall()
	if err != nil {
		return err
	}
	return m.pushMade(m.instance(class, args), nil)
}

// newObjectOfMark makes an instance of the class that follows the last mark, with the
// arguments after it.
func (m *machine) newObjectOfMark() error {
	values, err := m.popToMark()
	if err == nil && len(values) == 0 {
		err = underflow()
	}
	if err != nil {
		return err
	}
	class, err := asGlobal(values[0])
	if err != nil {
		return err
	}
	return m.pushMade(m.instance(class, slices.Clone(values[1:])), nil)
}

// popCall takes a class or function and the tuple of its arguments from the stack.
func (m *machine) popCall() (Global, []any, error) {
	v, err := m.pop()
	if err != nil {
		return Global{}, nil, err
	}
	args, ok := v.(*Tuple)
	if !ok {
		return Global{}, nil, Errorf("arguments that are no tuple")
	}
	v, err = m.pop()
	if err != nil {
		return Global{}, nil, err
	}
	g, err := asGlobal(v)
	return g, args.Items, err
}

// asGlobal returns the class or function that v names.
func asGlobal(v any) (Global, error) {
	g, ok := v.(Global)
	if !ok {
		return Global{}, Errorf("a call of what is no class or function")
	}
	return g, nil
}

// pushMade pushes an instance, or the value of a call.
func (m *machine) pushMade(v any, err error) error {
	size := 160
	if s, ok := v.(Sized); ok && err == nil {
		size += s.Size()
	}
	return m.push(v, size, err)
}

// persistent pushes the value of a persistent id.
func (m *machine) persistent(id any, err error) error {
	if err == nil && m.library.Persistent == nil {
		err = Errorf("a persistent id, want none")
	}
	if err != nil {
		return err
	}
	v, err := m.library.Persistent(id)
	return m.push(v, 80, err)
}

// build sets the state of the value that is on the stack under it.
func (m *machine) build() error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *Object:
		v.setState(state)
		return nil
	case Stateful:
		return v.SetState(state)
	case *Dict, *List, Opaque: // their attributes hold no values of theirs
		return nil
	}
	return Errorf("state for what has none")
}

// setState sets an object's attributes: those of its __dict__, which may come in a pair
// with those of its __slots__.
func (o *Object) setState(state any) {
	attributes, ok := state.(*Dict)
	if pair := Items(state); !ok && len(pair) == 2 {
		attributes, ok = pair[0].(*Dict)
	}
	if ok {
		o.Attributes = attributes
	}
}

// global names a class or a function. Modules that reach the system hold nothing that a
// value is made with: their names are refused before anything is done with them.
func global(module, name string) (Global, error) {
	switch module { // as Python 2 calls them
	case "__builtin__":
		module = "builtins"
	case "copy_reg":
		module = "copyreg"
	}
	g := Global{module, name}
	top, _, _ := strings.Cut(module, ".")
	switch top {
	case "os", "posix", "nt", "sys", "subprocess", "pty", "shutil", "socket", "importlib", "runpy", "ctypes", "pickle", "webbrowser":
		return g, Refuse(g)
	case "builtins":
		switch name {
		case "list", "dict", "set", "frozenset", "tuple", "object", "int", "long", "float", "complex", "bool",
			"str", "unicode", "bytes", "bytearray", "slice", "range", "xrange", "type", "getattr", "print":
		default:
			return g, Refuse(g)
		}
	}
	return g, nil
}

// call returns the value of a call of a function that is known here or to the library.
func (m *machine) call(function Global, args []any) (any, error) {
	var first any
	if len(args) > 0 {
		first = args[0]
	}
	switch function.String() {
	case "collections.OrderedDict", "collections.defaultdict", "builtins.dict":
		return dictOfPairs(function, first)
	case "builtins.set", "builtins.frozenset", "builtins.list":
		return &List{slices.Clone(Items(first))}, nil
	case "builtins.tuple":
		return &Tuple{slices.Clone(Items(first))}, nil
	case "copyreg._reconstructor", "copyreg.__newobj__":
		if class, ok := first.(Global); ok {
			return m.instance(class, args[1:]), nil
		}
		return nil, Refuse(function)
	case "builtins.getattr": // so are methods of classes pickled: of the name nothing is looked up
		switch first.(type) {
		case Global, *Object, Opaque:
			if len(args) == 2 {
				return Opaque{}, nil
			}
		}
		return nil, Refuse(function)
	case "_codecs.encode", "inspect.Signature", "inspect.Parameter", "inspect._ParameterKind", "random.Random", "builtins.bytearray", "builtins.bytes", "builtins.complex", "builtins.slice", "builtins.range",
		"collections.Counter", "collections.deque", "functools.partial", "types.SimpleNamespace",
		"datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta", "datetime.timezone",
		"numpy.dtype", "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
		"numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct", "numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer",
		"pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath", "pathlib._local.PosixPath",
		"uuid.UUID":
		return Opaque{}, nil
	}
	if m.library.Call != nil {
		if v, known, err := m.library.Call(function, args); known || err != nil {
			return v, err
		}
	}
	return nil, Refuse(function)
}

// dictOfPairs makes a dict of a list of pairs, an empty one of anything else.
func dictOfPairs(class Global, v any) (*Dict, error) {
	d := &Dict{}
	list, ok := v.(*List)
	if !ok {
		return d, nil
	}
	for _, item := range list.Items {
		pair := Items(item)
		if len(pair) != 2 {
			return nil, Errorf("%s: item that is no pair", class)
		}
		if err := d.setItems(pair); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// instance returns a new instance of a class.
func (m *machine) instance(class Global, args []any) any {
	if m.library.New != nil {
		if v, known := m.library.New(class, args); known {
			return v
		}
	}
	switch class.String() {
	case "collections.OrderedDict", "builtins.dict":
		return &Dict{}
	}
	return &Object{Class: class}
}
