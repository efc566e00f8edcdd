package weights

import (
	"slices"
	"strings"
)

// object carries out the opcodes that name, call and fill what a pickle's program can
// define for itself: classes, functions, instances.
//
// A class or function is only ever its name. Instances of any class are made, as their
// attributes and nothing else; of functions, those of calls are carried out, and any
// other is an error.
func (u *unpickler) object(op byte) error {
	switch op {
	case 'c', 'i': // GLOBAL, INST
		module, err := u.line(maxGlobalName)
		if err != nil {
			return err
		}
		name, err := u.line(maxGlobalName)
		if err != nil {
			return err
		}
		g, err := global(module, name)
		if err != nil {
			return err
		}
		if op == 'i' {
			if _, err := u.popMark(); err != nil {
				return err
			}
			return u.push(&pickledObject{class: g}, 160)
		}
		return u.push(g, 32)
	case '\x93': // STACK_GLOBAL
		name, err := u.pop()
		if err != nil {
			return err
		}
		module, err := u.pop()
		if err != nil {
			return err
		}
		m, ok := module.(string)
		n, also := name.(string)
		if !ok || !also || len(m) > maxGlobalName || len(n) > maxGlobalName {
			return malformed("", "a class without a name")
		}
		g, err := global(m, n)
		return u.pushed(g, 32, err)

	case 'R', '\x81', 'o', '\x92': // REDUCE, NEWOBJ, OBJ, NEWOBJ_EX
		var callee any
		var args []any
		var err error
		if op == 'o' {
			if args, err = u.popMark(); err == nil && len(args) == 0 {
				err = u.underflow()
			}
			if err != nil {
				return err
			}
			callee, args = args[0], args[1:]
		} else {
			if op == '\x92' {
				_, err = u.pop() // keyword arguments
			}
			if err == nil {
				args, err = u.argumentTuple()
			}
			if err == nil {
				callee, err = u.pop()
			}
			if err != nil {
				return err
			}
		}
		g, ok := callee.(pickledGlobal)
		if !ok {
			return malformed("", "a call of what is no class or function")
		}
		var v any
		if op == 'R' {
			if len(args) > 0 {
				u.spent += 32 * int64(len(items(args[0]))) // which call may copy
			}
			v, err = call(g, args)
		} else {
			v = instance(g, args)
		}
		if t, ok := v.(*torchTensor); ok && err == nil {
			u.spent += 16 * int64(len(t.shape))
		}
		return u.pushed(v, 160, err)
	case 'b': // BUILD
		state, err := u.pop()
		if err != nil {
			return err
		}
		v, err := u.top()
		if err != nil {
			return err
		}
		return build(v, state)

	case 'Q', 'P': // BINPERSID, PERSID
		var id any
		var err error
		if op == 'Q' {
			id, err = u.pop()
		} else {
			id, err = u.line(maxGlobalName)
		}
		if err == nil && u.persistent == nil {
			err = malformed("", "a persistent id, want none")
		}
		if err != nil {
			return err
		}
		v, err := u.persistent(id)
		return u.pushed(v, 80, err)
	}
	return malformed("", "opcode %#02x", op)
}

func (u *unpickler) argumentTuple() ([]any, error) {
	v, err := u.pop()
	if err != nil {
		return nil, err
	}
	t, ok := v.(*pickledTuple)
	if !ok {
		return nil, malformed("", "arguments that are no tuple")
	}
	return t.items, nil
}

// global names a class or a function. Modules that reach the system are no part of any
// weights: their names are refused before anything is done with them.
func global(module, name string) (pickledGlobal, error) {
	switch module {
	case "__builtin__":
		module = "builtins"
	case "copy_reg":
		module = "copyreg"
	}
	g := pickledGlobal{module, name}
	top, _, _ := strings.Cut(module, ".")
	switch top {
	case "os", "posix", "nt", "sys", "subprocess", "pty", "shutil", "socket", "importlib", "runpy", "ctypes", "pickle", "webbrowser":
		return g, refused(g)
	case "builtins":
		switch name {
		case "list", "dict", "set", "frozenset", "tuple", "object", "int", "long", "float", "complex", "bool",
			"str", "unicode", "bytes", "bytearray", "slice", "range", "xrange", "type":
		default:
			return g, refused(g)
		}
	}
	return g, nil
}

func refused(g pickledGlobal) error {
	return malformed("", "wants to run %s, which no reading of weights needs: refused, and nothing was run", display(g.String()))
}

// call is the value of a call of the function g, of those that files of weights call.
func call(g pickledGlobal, args []any) (any, error) {
	arg := func(i int) any {
		if i < len(args) {
			return args[i]
		}
		return nil
	}
	switch g.String() {
	case "collections.OrderedDict", "collections.defaultdict", "builtins.dict":
		d := &pickledDict{}
		if l, ok := arg(0).(*pickledList); ok { // of pairs
			for _, item := range l.items {
				pair := items(item)
				if len(pair) != 2 {
					return nil, malformed("", "%s: item that is no pair", g)
				}
				if err := d.set(pair); err != nil {
					return nil, err
				}
			}
		}
		return d, nil
	case "builtins.set", "builtins.frozenset", "builtins.list":
		return &pickledList{slices.Clone(items(arg(0)))}, nil
	case "builtins.tuple", "torch.Size":
		return &pickledTuple{slices.Clone(items(arg(0)))}, nil

	case "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2":
		// storage, offset, size, stride, …
		return rebuildTensor(arg(0), arg(1), arg(2), arg(3))
	case "torch._utils._rebuild_tensor_v3":
		// storage, offset, size, stride, requires_grad, backward_hooks, dtype, …
		t, err := rebuildTensor(arg(0), arg(1), arg(2), arg(3))
		if err != nil {
			return nil, err
		}
		d, _ := arg(6).(pickledGlobal)
		if t.dtype = torchDTypes[d.name]; d.module != "torch" || t.dtype == "" {
			return nil, malformed("", "%s: dtype %s is not known", g.name, display(d.String()))
		}
		return t, nil
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
		"torch.jit._pickle.build_intlist", "torch.jit._pickle.build_doublelist", "torch.jit._pickle.build_boollist",
		"torch.jit._pickle.build_tensorlist", "torch.jit._pickle.restore_type_tag":
		return arg(0), nil
	case "torch._tensor._rebuild_from_type_v2": // function, type, arguments, state
		f, _ := arg(0).(pickledGlobal)
		if !strings.HasPrefix(f.name, "_rebuild_") || f.name == g.name {
			return nil, refused(f)
		}
		return call(f, items(arg(2)))

	case "copyreg._reconstructor", "copyreg.__newobj__": // class, …
		if class, ok := arg(0).(pickledGlobal); ok {
			return instance(class, args[1:]), nil
		}
	case "_codecs.encode", "builtins.bytearray", "builtins.bytes", "builtins.complex", "builtins.slice", "builtins.range",
		"collections.Counter", "collections.deque", "functools.partial", "types.SimpleNamespace",
		"datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta", "datetime.timezone",
		"numpy.dtype", "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
		"numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct", "numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer",
		"pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath", "pathlib._local.PosixPath",
		"torch.device", "torch.serialization._get_layout", "uuid.UUID":
		return opaque{}, nil
	}
	if isTensorClass(g) {
		return &torchTensor{}, nil
	}
	return nil, refused(g)
}

// instance is a new instance of a class.
func instance(class pickledGlobal, args []any) any {
	if isTensorClass(class) {
		if len(args) > 0 {
			if t, ok := args[0].(*torchTensor); ok {
				return t
			}
		}
		return &torchTensor{}
	}
	switch class.String() {
	case "collections.OrderedDict", "builtins.dict":
		return &pickledDict{}
	}
	return &pickledObject{class: class}
}

// isTensorClass reports whether a class is torch's Tensor, FloatTensor, cuda.HalfTensor,
// Parameter or their like.
func isTensorClass(g pickledGlobal) bool {
	switch g.module {
	case "torch", "torch.cuda", "torch._tensor":
		return strings.HasSuffix(g.name, "Tensor")
	case "torch.nn.parameter":
		return g.name == "Parameter" || g.name == "Buffer"
	case "torch.autograd.variable":
		return g.name == "Variable"
	}
	return false
}

// build sets the state of a value.
func build(v, state any) error {
	switch v := v.(type) {
	case *pickledObject:
		d, ok := state.(*pickledDict)
		if !ok { // the attributes of __dict__ and those of __slots__
			if t := items(state); len(t) == 2 {
				d, ok = t[0].(*pickledDict)
			}
		}
		if ok {
			v.attributes = d
		}
		return nil
	case *torchTensor:
		t := v
		var err error
		switch s := items(state); len(s) {
		case 4: // of tensors of old: storage, offset, size, stride
			t, err = rebuildTensor(s[0], s[1], s[2], s[3])
		case 5: // of variables of old: tensor, …
			if of, ok := s[0].(*torchTensor); ok {
				t = of
			}
		}
		if err == nil {
			*v = *t
		}
		return err
	case *pickledDict, *pickledList, opaque: // their attributes are no weights
		return nil
	}
	return malformed("", "state for what has none")
}

// items returns the elements of a tuple or a list.
func items(v any) []any {
	switch v := v.(type) {
	case *pickledTuple:
		return v.items
	case *pickledList:
		return v.items
	}
	return nil
}
