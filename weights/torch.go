package weights

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
)

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

// torchStorage is the memory that tensors lie in, as a pickle names it.
type torchStorage struct {
	key     string
	dtype   string // U8 if it has none
	count   int    // elements
	offset  int    // of a storage that is a part of another: its first element there
	untyped bool
}

// torchTensor is a tensor of a pickle: its place in a storage, not yet checked.
type torchTensor struct {
	storage        *torchStorage
	dtype          string // if it isn't the storage's
	offset         int
	shape, strides []int
}

// rebuildTensor is torch._utils._rebuild_tensor.
func rebuildTensor(storage, offset, shape, strides any) (*torchTensor, error) {
	s, ok := storage.(*torchStorage)
	at, also := offset.(int64)
	if !ok || !also || at < 0 || at > math.MaxInt {
		return nil, malformed("", "a tensor without a storage, or whose offset is no number from 0 on")
	}
	t := &torchTensor{storage: s, offset: int(at)}
	var err error
	if t.shape, err = torchInts(shape); err == nil {
		t.strides, err = torchInts(strides)
	}
	return t, err
}

func torchInts(v any) ([]int, error) {
	elements := items(v)
	if len(elements) > maxAxes {
		return nil, malformed("", "a tensor of %d axes, want at most %d", len(elements), maxAxes)
	}
	ints := make([]int, len(elements))
	for i, e := range elements {
		n, ok := e.(int64)
		if !ok || n > math.MaxInt || n < math.MinInt {
			return nil, malformed("", "a tensor's shape or strides aren't numbers")
		}
		ints[i] = int(n)
	}
	return ints, nil
}

// torchFile is a file of torch.save as far as its pickle goes.
type torchFile struct {
	r    io.ReaderAt
	size int64
	big  bool // big-endian
	// storages are the storages named so far, by key.
	storages map[string]*torchStorage
	// find returns the place of a storage's data.
	find func(s *torchStorage) (begin, end int64, err error)
}

// persistent makes a storage of what a pickle has in its place:
// ("storage", class, key, location, elements) and, in the legacy format,
// (view's key, offset, elements) or None. A module has its source code along,
// ("module", class, file, source).
func (f *torchFile) persistent(id any) (any, error) {
	fields := items(id)
	if len(fields) >= 2 && fields[0] == "module" {
		return fields[1], nil
	}
	if len(fields) < 5 || fields[0] != "storage" {
		return nil, malformed("", "a persistent id that is no storage")
	}
	class, _ := fields[1].(pickledGlobal)
	s := &torchStorage{dtype: torchStorages[class.name]}
	top, _, _ := strings.Cut(class.module, ".")
	if top != "torch" || s.dtype == "" {
		return nil, malformed("", "a storage of class %s, which isn't known", display(class.String()))
	}
	s.untyped = strings.HasSuffix(class.name, "UntypedStorage")
	switch key := fields[2].(type) {
	case string:
		s.key = key
	case int64:
		s.key = fmt.Sprint(key)
	default:
		return nil, malformed("", "a storage without a key")
	}
	count, ok := fields[4].(int64)
	if !ok || count < 0 || count > math.MaxInt64/8 {
		return nil, malformed("", "storage %s: number of elements negative or too large", display(s.key))
	}
	s.count = int(count)
	if _, ok := f.storages[s.key]; !ok {
		f.storages[s.key] = s
	}
	if len(fields) > 5 {
		if part := items(fields[5]); len(part) == 3 {
			offset, ok := part[1].(int64)
			n, also := part[2].(int64)
			if !ok || !also || offset < 0 || n < 0 || offset > count || n > count-offset {
				return nil, malformed("", "storage %s: a part outside it", display(s.key))
			}
			of := *s
			of.offset, of.count = int(offset), int(n)
			return &of, nil
		}
	}
	return s, nil
}

// place checks a tensor against the file and makes it an entry.
func (f *torchFile) place(name string, t *torchTensor) (entry, error) {
	if t.storage == nil {
		return entry{}, malformed(name, "tensor without a storage")
	}
	begin, end, err := f.find(t.storage)
	if err != nil {
		fe, ok := err.(*FormatError)
		if ok {
			fe.Tensor = name
		}
		return entry{}, err
	}
	v := &view{r: f.r, dtype: t.storage.dtype, big: f.big, offset: t.offset, shape: t.shape, strides: t.strides}
	if t.dtype != "" {
		if !t.storage.untyped {
			return entry{}, malformed(name, "dtype %s in a storage of %s", t.dtype, t.storage.dtype)
		}
		v.dtype = t.dtype
	}
	width := int64(dtypeBits(t.storage.dtype) / 8)
	if int64(t.storage.count) > (end-begin)/width-int64(t.storage.offset) {
		return entry{}, malformed(name, "truncated: storage %s has %d elements of %s, but %d bytes",
			display(t.storage.key), t.storage.count, t.storage.dtype, end-begin)
	}
	v.begin = begin + int64(t.storage.offset)*width
	v.end = v.begin + int64(t.storage.count)*width
	if why := v.check(); why != "" {
		return entry{}, malformed(name, "%s: offset %d, shape %v, strides %v in a storage of %d elements of %s",
			why, t.offset, t.shape, t.strides, t.storage.count, t.storage.dtype)
	}
	return v.entry(name, true), nil
}

// torchDataPickle reports whether a member of a zip file is the pickle of torch.save.
func torchDataPickle(name string) bool {
	folder, file, ok := strings.Cut(name, "/")
	return ok && folder != "" && file == "data.pkl"
}

func isTorchZip(head []byte, r io.ReaderAt, size int64) bool {
	return zipHolds(head, r, size, torchDataPickle)
}

// torchMetadata is a member of the zip files that are written here; torch.load passes
// over it. It holds the metadata as a JSON object of strings.
const torchMetadata = "extra/metadata.json"

// readTorchZip reads a zip file of torch.save: folder/data.pkl is a pickle, in which
// each storage is the name of a file in folder/data.
func readTorchZip(r io.ReaderAt, size int64, _ *folder) (*header, error) {
	members, _, err := zipMembers(r, size)
	if err != nil {
		return nil, err
	}
	folder := ""
	for name := range members {
		if torchDataPickle(name) {
			if folder != "" {
				return nil, malformed("", "two pickles, %s and %sdata.pkl: want one", display(name), display(folder))
			}
			folder = strings.TrimSuffix(name, "data.pkl")
		}
	}
	text := func(name string, most int64) ([]byte, error) {
		m, ok := members[folder+name]
		if !ok {
			return nil, nil
		}
		if m.Method != 0 {
			return nil, malformed("", "member %s is compressed, want it stored, as torch.save does", display(m.Name))
		}
		if m.end-m.begin > most {
			return nil, malformed("", "member %s of %d bytes, want at most %d", display(m.Name), m.end-m.begin, most)
		}
		b := make([]byte, m.end-m.begin)
		return b, readFull(r, b, m.begin)
	}

	f := &torchFile{r: r, size: size, storages: make(map[string]*torchStorage)}
	order, err := text("byteorder", 16)
	if err != nil {
		return nil, err
	}
	switch string(order) {
	case "", "little":
	case "big":
		f.big = true
	default:
		return nil, malformed("", "byteorder %s, want little or big", display(string(order)))
	}
	f.find = func(s *torchStorage) (int64, int64, error) {
		m, ok := members[folder+"data/"+s.key]
		if !ok {
			m, ok = members[folder+"constants/"+s.key] // of TorchScript
		}
		if !ok {
			return 0, 0, malformed("", "no member %s for its storage", display(folder+"data/"+s.key))
		}
		if m.Method != 0 {
			return 0, 0, malformed("", "member %s is compressed, want it stored, as torch.save does", display(m.Name))
		}
		return m.begin, m.end, nil
	}

	pkl := members[folder+"data.pkl"]
	if pkl.Method != 0 {
		return nil, malformed("", "member %s is compressed, want it stored, as torch.save does", display(pkl.Name))
	}
	root, length, err := unpickle(io.NewSectionReader(r, pkl.begin, pkl.end-pkl.begin), pkl.end-pkl.begin, f.persistent)
	if err != nil {
		return nil, err
	}
	h, err := f.header(root, length)
	if err != nil {
		return nil, err
	}
	extra, err := text(torchMetadata, maxHeader)
	if err != nil {
		return nil, err
	}
	if extra != nil {
		var own map[string]string
		if err := json.Unmarshal(extra, &own); err != nil {
			return nil, malformed("", "member %s: %v", display(folder+torchMetadata), err)
		}
		for k, v := range own {
			h.meta[k] = v
		}
	}
	return h, nil
}
