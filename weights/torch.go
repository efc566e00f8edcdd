package weights

import (
	"archive/zip"
	"io"
	"strings"

	"github.com/verydeep/vgg/internal/boundedjson"
	"github.com/verydeep/vgg/internal/pickle"
)

// torchFile is a file of torch.save, up to its pickle.
type torchFile struct {
	r   io.ReaderAt
	big bool // big-endian
	// storages are the storages named so far, by key.
	storages map[string]*torchStorage
	// find returns where a storage's data is.
	find func(s *torchStorage) (begin, end int64, err error)
}

// entry checks a tensor against the file and describes it.
func (f *torchFile) entry(name string, t *torchTensor) (entry, error) {
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

// torchMetadata is a member of the zip files that this package writes. It holds the
// metadata as a JSON object of strings. torch.load ignores it.
const torchMetadata = "extra/metadata.json"

// torchArchive is a zip file of torch.save. Its members are in one folder.
type torchArchive struct {
	r       io.ReaderAt
	members map[string]member
	folder  string // with the slash
}

// readTorchZip reads a zip file of torch.save: folder/data.pkl is a pickle, in which
// each storage is the name of a file in folder/data.
func readTorchZip(r io.ReaderAt, size int64, _ *folder) (*header, error) {
	members, _, err := zipMembers(r, size)
	if err != nil {
		return nil, err
	}
	a := &torchArchive{r: r, members: members}
	if err := a.findFolder(); err != nil {
		return nil, err
	}
	big, err := a.bigEndian()
	if err != nil {
		return nil, err
	}
	data, err := stored(members[a.folder+"data.pkl"])
	if err != nil {
		return nil, err
	}
	f := &torchFile{r: r, big: big, storages: make(map[string]*torchStorage), find: a.findStorage}
	root, length, err := loadPickle(r, data.begin, data.end, torchLibrary(f.persistent))
	if err != nil {
		return nil, err
	}
	h, err := f.header(root, length, func(h *header, root *pickle.Object) error { return a.describeScript(h, f, root, size) })
	if err != nil {
		return nil, err
	}
	return h, a.addMetadata(h)
}

// findFolder finds the folder of the pickle. Two of them are an error.
func (a *torchArchive) findFolder() error {
	for name := range a.members {
		if !torchDataPickle(name) {
			continue
		}
		if a.folder != "" {
			return malformed("", "two pickles, %s and %sdata.pkl: want one", display(name), display(a.folder))
		}
		a.folder = strings.TrimSuffix(name, "data.pkl")
	}
	return nil
}

// stored returns m, which must not be compressed.
func stored(m member) (member, error) {
	if m.Method != zip.Store {
		return m, malformed("", "member %s is compressed, want it stored, as torch.save does", display(m.Name))
	}
	return m, nil
}

// text returns the content of the member of that name, at most so many bytes; nil if
// there is none.
func (a *torchArchive) text(name string, most int64) ([]byte, error) {
	m, ok := a.members[a.folder+name]
	if !ok {
		return nil, nil
	}
	m, err := stored(m)
	if err != nil {
		return nil, err
	}
	if m.end-m.begin > most {
		return nil, malformed("", "member %s of %d bytes, want at most %d", display(m.Name), m.end-m.begin, most)
	}
	b := make([]byte, m.end-m.begin)
	return b, readFull(a.r, b, m.begin)
}

func (a *torchArchive) bigEndian() (bool, error) {
	order, err := a.text("byteorder", 16)
	if err != nil {
		return false, err
	}
	switch string(order) {
	case "", "little":
		return false, nil
	case "big":
		return true, nil
	}
	return false, malformed("", "byteorder %s, want little or big", display(string(order)))
}

// findStorage returns where a storage's data is.
func (a *torchArchive) findStorage(s *torchStorage) (begin, end int64, err error) {
	m, ok := a.members[a.folder+"data/"+s.key]
	if !ok {
		m, ok = a.members[a.folder+"constants/"+s.key] // of TorchScript
	}
	if !ok {
		return 0, 0, malformed("", "no member %s for its storage", display(a.folder+"data/"+s.key))
	}
	m, err = stored(m)
	return m.begin, m.end, err
}

// findConstant returns where the storage of a constant of TorchScript's code is.
func (a *torchArchive) findConstant(s *torchStorage) (begin, end int64, err error) {
	m, ok := a.members[a.folder+"constants/"+s.key]
	if !ok {
		return 0, 0, malformed("", "no member %s for its storage", display(a.folder+"constants/"+s.key))
	}
	m, err = stored(m)
	return m.begin, m.end, err
}

// addMetadata adds the metadata of files that this package wrote.
func (a *torchArchive) addMetadata(h *header) error {
	text, err := a.text(torchMetadata, maxHeader)
	if text == nil || err != nil {
		return err
	}
	var own map[string]string
	if err := boundedjson.Unmarshal(text, &own); err != nil {
		return malformed("", "member %s: %v", display(a.folder+torchMetadata), err)
	}
	for k, v := range own {
		h.meta[k] = v
	}
	return nil
}
