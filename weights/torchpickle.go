package weights

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/pickle"
)

// loadPickle reads the pickle that bytes [begin, end) of r begin with, and its length.
func loadPickle(r io.ReaderAt, begin, end int64, library pickle.Library) (value any, length int64, err error) {
	value, length, err = pickle.Load(io.NewSectionReader(r, begin, end-begin), end-begin, library)
	if e, ok := errors.AsType[*pickle.FormatError](err); ok {
		err = malformed("", "%v", e)
	}
	return value, length, err
}

// torchLibrary makes tensors of the calls in a pickle of torch.save. persistent returns
// the value of a persistent id; nil if there must be none.
func torchLibrary(persistent func(id any) (any, error)) pickle.Library {
	return pickle.Library{Persistent: persistent, Call: torchCall, New: newTorch}
}

// torchCall is the Call of the Library.
func torchCall(function pickle.Global, args []any) (v any, known bool, err error) {
	arg := func(i int) any {
		if i < len(args) {
			return args[i]
		}
		return nil
	}
	switch function.String() {
	case "torch.Size":
		return &pickle.Tuple{Items: slices.Clone(pickle.Items(arg(0)))}, true, nil
	case "torch.device", "torch.serialization._get_layout":
		return pickle.Opaque{}, true, nil
	case "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2":
		// storage, offset, size, stride, …
		t, err := rebuildTensor(arg(0), arg(1), arg(2), arg(3))
		return t, true, err
	case "torch._utils._rebuild_tensor_v3":
		// storage, offset, size, stride, requires_grad, backward_hooks, dtype, …
		t, err := rebuildTensor(arg(0), arg(1), arg(2), arg(3))
		if err != nil {
			return nil, true, err
		}
		d, _ := arg(6).(pickle.Global)
		if t.dtype = torchDTypes[d.Name]; d.Module != "torch" || t.dtype == "" {
			return nil, true, pickle.Errorf("%s: dtype %s is not known", function.Name, display(d.String()))
		}
		return t, true, nil
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
		"torch.jit._pickle.build_intlist", "torch.jit._pickle.build_doublelist", "torch.jit._pickle.build_boollist",
		"torch.jit._pickle.build_tensorlist", "torch.jit._pickle.restore_type_tag":
		return arg(0), true, nil
	case "torch._tensor._rebuild_from_type_v2": // function, type, arguments, state
		f, _ := arg(0).(pickle.Global)
		if !strings.HasPrefix(f.Name, "_rebuild_") || f.Name == function.Name {
			return nil, true, pickle.Refuse(f)
		}
		v, known, err := torchCall(f, pickle.Items(arg(2)))
		if !known {
			err = pickle.Refuse(f)
		}
		return v, true, err
	}
	if isTensorClass(function) {
		return &torchTensor{}, true, nil
	}
	return nil, false, nil
}

// newTorch is the New of the Library: a tensor, of a class of tensors.
func newTorch(class pickle.Global, args []any) (v any, known bool) {
	if !isTensorClass(class) {
		return nil, false
	}
	if len(args) > 0 {
		if t, ok := args[0].(*torchTensor); ok {
			return t, true
		}
	}
	return &torchTensor{}, true
}

// isTensorClass reports whether a class is torch's Tensor, FloatTensor, cuda.HalfTensor,
// Parameter or their like.
func isTensorClass(g pickle.Global) bool {
	switch g.Module {
	case "torch", "torch.cuda", "torch._tensor":
		return strings.HasSuffix(g.Name, "Tensor")
	case "torch.nn.parameter":
		return g.Name == "Parameter" || g.Name == "Buffer"
	case "torch.autograd.variable":
		return g.Name == "Variable"
	}
	return false
}

// torchDTypes are the types of elements by PyTorch's names.
var torchDTypes = map[string]string{
	"float32": "F32", "float": "F32", "float16": "F16", "half": "F16", "bfloat16": "BF16", "float64": "F64", "double": "F64",
	"int64": "I64", "long": "I64", "int32": "I32", "int": "I32", "int16": "I16", "short": "I16", "int8": "I8",
	"uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL", "complex64": "C64", "cfloat": "C64",
	"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}

// torchStorages are the types of elements by the classes of storages: torch.FloatStorage,
// torch.cuda.FloatStorage.
var torchStorages = map[string]string{
	"FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
	"LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
	"ByteStorage": "U8", "BoolStorage": "BOOL", "ComplexFloatStorage": "C64",
	"UntypedStorage": "U8", "_UntypedStorage": "U8",
}

// torchStorage is the memory of one or more tensors, as a pickle names it.
type torchStorage struct {
	key     string
	dtype   string // U8 if it has none
	count   int    // elements
	offset  int    // of a storage that is a part of another: its first element there
	untyped bool
}

// torchTensor is a tensor of a pickle, as a view of a storage. It isn't checked yet.
type torchTensor struct {
	storage        *torchStorage
	dtype          string // if it isn't the storage's
	offset         int
	shape, strides []int
}

// Size implements [pickle.Sized].
func (t *torchTensor) Size() int { return 16 * len(t.shape) }

// SetState implements [pickle.Stateful]. The first versions of PyTorch wrote tensors and
// variables in this way.
func (t *torchTensor) SetState(state any) error {
	from := t
	var err error
	switch s := pickle.Items(state); len(s) {
	case 4: // storage, offset, size, stride
		from, err = rebuildTensor(s[0], s[1], s[2], s[3])
	case 5: // tensor, …
		if of, ok := s[0].(*torchTensor); ok {
			from = of
		}
	}
	if err == nil {
		*t = *from
	}
	return err
}

// rebuildTensor is torch._utils._rebuild_tensor.
func rebuildTensor(storage, offset, shape, strides any) (*torchTensor, error) {
	s, ok := storage.(*torchStorage)
	at, also := offset.(int64)
	if !ok || !also || at < 0 || at > math.MaxInt {
		return nil, pickle.Errorf("a tensor without a storage, or whose offset is no number from 0 on")
	}
	t := &torchTensor{storage: s, offset: int(at)}
	var err error
	if t.shape, err = torchInts(shape); err == nil {
		t.strides, err = torchInts(strides)
	}
	return t, err
}

func torchInts(v any) ([]int, error) {
	elements := pickle.Items(v)
	if len(elements) > maxAxes {
		return nil, pickle.Errorf("a tensor of %d axes, want at most %d", len(elements), maxAxes)
	}
	ints := make([]int, len(elements))
	for i, e := range elements {
		n, ok := e.(int64)
		if !ok || n > math.MaxInt || n < math.MinInt {
			return nil, pickle.Errorf("a tensor's shape or strides aren't numbers")
		}
		ints[i] = int(n)
	}
	return ints, nil
}

// persistent returns the storage of a persistent id:
// ("storage", class, key, location, elements), and in the legacy format
// (view's key, offset, elements) or None after these. The persistent id of a module,
// ("module", class, file, source), adds its source code: the value is its class.
func (f *torchFile) persistent(id any) (any, error) {
	fields := pickle.Items(id)
	if len(fields) >= 2 && fields[0] == "module" {
		return fields[1], nil
	}
	if len(fields) < 5 || fields[0] != "storage" {
		return nil, pickle.Errorf("a persistent id that is no storage")
	}
	class, _ := fields[1].(pickle.Global)
	s := &torchStorage{dtype: torchStorages[class.Name]}
	top, _, _ := strings.Cut(class.Module, ".")
	if top == "torch" && strings.HasPrefix(class.Name, "Q") {
		return nil, pickle.Errorf("quantised weights of torch.ao.quantization (%s), which aren't read: save the state_dict of the float model, as it is before quantize_dynamic or convert", display(class.Name))
	}
	if top != "torch" || s.dtype == "" {
		return nil, pickle.Errorf("a storage of class %s, which isn't known", display(class.String()))
	}
	s.untyped = strings.HasSuffix(class.Name, "UntypedStorage")
	switch key := fields[2].(type) {
	case string:
		s.key = key
	case int64:
		s.key = fmt.Sprint(key)
	default:
		return nil, pickle.Errorf("a storage without a key")
	}
	count, ok := fields[4].(int64)
	if !ok || count < 0 || count > math.MaxInt64/8 {
		return nil, pickle.Errorf("storage %s: number of elements negative or too large", display(s.key))
	}
	s.count = int(count)
	if _, ok := f.storages[s.key]; !ok {
		f.storages[s.key] = s
	}
	if len(fields) > 5 {
		if part := pickle.Items(fields[5]); len(part) == 3 {
			offset, ok := part[1].(int64)
			n, also := part[2].(int64)
			if !ok || !also || offset < 0 || n < 0 || offset > count || n > count-offset {
				return nil, pickle.Errorf("storage %s: a part outside it", display(s.key))
			}
			of := *s
			of.offset, of.count = int(offset), int(n)
			return &of, nil
		}
	}
	return s, nil
}
