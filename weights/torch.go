package weights

import (
	"encoding/json"
	"io"
	"strings"
)

// torchFile is a file of torch.save as far as its pickle goes.
type torchFile struct {
	r    io.ReaderAt
	size int64
	big  bool // big-endian
	// storages are the storages named so far, by key.
	storages map[string]*torchStorage
	// find returns where a storage's data lies.
	find func(s *torchStorage) (begin, end int64, err error)
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
	root, length, err := loadPickle(r, pkl.begin, pkl.end, torchLibrary(f.persistent))
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
