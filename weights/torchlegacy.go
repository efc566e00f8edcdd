package weights

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"

	"github.com/verydeep/vgg/internal/pickle"
)

// torchLegacyMagic is how the files of torch.save before 1.6 begin: the pickle of the
// number 0x1950a86a20f9469cfc6c.
const torchLegacyMagic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."

func isTorchLegacy(head []byte, _ io.ReaderAt, _ int64) bool {
	return bytes.HasPrefix(head, []byte(torchLegacyMagic))
}

// readTorchLegacy reads the format of torch.save before 1.6: the pickles of the magic
// number, the protocol's version, the machine, the value, and the list of the storages'
// keys. After these come the storages in the list's order: the number of elements in
// eight bytes, then the data. Both are little-endian.
func readTorchLegacy(r io.ReaderAt, size int64, _ *folder) (*header, error) {
	f := &torchFile{r: r, storages: make(map[string]*torchStorage)}
	at := int64(len(torchLegacyMagic))
	next := func(persistent func(any) (any, error)) (any, int64, error) {
		v, n, err := loadPickle(r, at, size, torchLibrary(persistent))
		at += n
		return v, n, err
	}
	version, _, err := next(nil)
	if err != nil {
		return nil, err
	}
	if version != int64(1001) {
		return nil, malformed("", "version %v of PyTorch's legacy format, want 1001", version)
	}
	if _, _, err := next(nil); err != nil {
		return nil, err
	}
	root, length, err := next(f.persistent)
	if err != nil {
		return nil, err
	}
	list, _, err := next(nil)
	if err != nil {
		return nil, err
	}
	keys, ok := list.(*pickle.List)
	if !ok {
		return nil, malformed("", "no list of storages after the pickle")
	}
	data, err := f.legacyStorages(keys.Items, at, size)
	if err != nil {
		return nil, err
	}
	f.find = func(s *torchStorage) (begin, end int64, err error) {
		d, ok := data[s.key]
		if !ok {
			return 0, 0, malformed("", "no storage %s", display(s.key))
		}
		return d.begin, d.end, nil
	}
	return f.header(root, length, nil)
}

// byteRange is the bytes [begin, end) of a file.
type byteRange struct{ begin, end int64 }

// legacyStorages returns where the data of each storage is. The first begins at a byte of
// a file of that size.
func (f *torchFile) legacyStorages(keys []any, at, size int64) (map[string]byteRange, error) {
	data := make(map[string]byteRange, len(f.storages))
	for _, k := range keys {
		key, _ := k.(string)
		s, ok := f.storages[key]
		if !ok {
			return nil, malformed("", "storage %s belongs to no tensor", display(key))
		}
		if _, ok := data[key]; ok {
			return nil, malformed("", "storage %s given twice", display(key))
		}
		var count [8]byte
		if size-at < int64(len(count)) {
			return nil, malformed("", "truncated before storage %s", display(key))
		}
		if err := readFull(f.r, count[:], at); err != nil {
			return nil, err
		}
		at += int64(len(count))
		n, width := binary.LittleEndian.Uint64(count[:]), uint64(dtypeBits(s.dtype)/8)
		if n > math.MaxInt64/8 || n*width > uint64(size-at) {
			return nil, malformed("", "truncated: storage %s of %d elements of %s claimed, %d bytes follow", display(key), n, s.dtype, size-at)
		}
		data[key] = byteRange{at, at + int64(n*width)}
		at += int64(n * width)
	}
	return data, nil
}
