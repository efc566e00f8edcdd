package weights

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"io"

	"github.com/verydeep/vgg/internal/boundedjson"
)

// The members of a .keras file.
const (
	kerasZipConfig   = "config.json"
	kerasZipMetadata = "metadata.json"
	kerasZipWeights  = "model.weights.h5"
)

// isKerasZip reports whether a file is a zip with the weights of a Keras model.
func isKerasZip(head []byte, r io.ReaderAt, size int64) bool {
	return zipHolds(head, r, size, func(name string) bool { return name == kerasZipWeights || name == kerasZipConfig })
}

func readKerasZip(r io.ReaderAt, size int64, _ *folder) (*header, error) {
	members, _, err := zipMembers(r, size)
	if err != nil {
		return nil, err
	}
	h := &header{meta: make(map[string]string)}
	if m, ok := members[kerasZipMetadata]; ok {
		if err := addKerasMetadata(h, m, size); err != nil {
			return nil, err
		}
	}
	config, ok := members[kerasZipConfig]
	if !ok {
		return nil, malformed("", "no member %s, want a file of Keras", kerasZipConfig)
	}
	text, err := zipText(config, size)
	if err != nil {
		return nil, err
	}
	chain, err := kerasChain(text)
	if _, branched := errors.AsType[*unchainedError](err); err != nil && !branched {
		return nil, err
	}
	ends := err
	data, ok := members[kerasZipWeights]
	if !ok {
		return nil, malformed("", "no member %s", kerasZipWeights)
	}
	// Keras stores the weights uncompressed, so that they can be read in place.
	if data.Method != zip.Store {
		return nil, malformed("", "%s is compressed, want it stored as Keras writes it (zip -0)", kerasZipWeights)
	}
	k := &kerasFile{h: h, size: data.end - data.begin, paths: make(map[string]int)}
	if err := k.read(io.NewSectionReader(r, data.begin, k.size), chain); err != nil {
		return nil, hdf5Error(err)
	}
	for i := range h.entries {
		if e := &h.entries[i]; e.read == nil {
			e.begin += data.begin
			e.end += data.begin
		}
	}
	var model struct {
		Training json.RawMessage `json:"compile_config"`
	}
	_ = json.Unmarshal(text, &model) // kerasChain has decoded it
	if err := noteLoss(h, model.Training); err != nil {
		return nil, err
	}
	return h, describeChain(h, chain, ends)
}

// addKerasMetadata adds the metadata of a .keras file of that size to h.
func addKerasMetadata(h *header, m member, size int64) error {
	text, err := zipText(m, size)
	if err != nil {
		return err
	}
	var metadata struct {
		KerasVersion string `json:"keras_version"`
		DateSaved    string `json:"date_saved"`
	}
	if err := boundedjson.Unmarshal(text, &metadata); err != nil {
		return malformed("", "%s: %v", kerasZipMetadata, err)
	}
	if metadata.KerasVersion != "" {
		h.meta["keras_version"] = metadata.KerasVersion
	}
	if metadata.DateSaved != "" {
		h.meta["date_saved"] = metadata.DateSaved
	}
	return nil
}

// zipText returns the content of a member that is text. Its limit is what text in a file
// of that size can decompress to.
func zipText(m member, size int64) ([]byte, error) {
	most := maxShared*size + 1<<20
	if m.UncompressedSize64 > uint64(most) {
		return nil, malformed("", "member %s: %d bytes in a file of %d", display(m.Name), m.UncompressedSize64, size)
	}
	f, err := m.Open()
	if err != nil {
		return nil, malformed("", "member %s: %v", display(m.Name), err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, malformed("", "member %s: %v", display(m.Name), err)
	}
	return text, nil
}
