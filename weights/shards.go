package weights

import (
	"bytes"
	"io"
	"maps"
	"slices"

	"github.com/verydeep/vgg/internal/boundedjson"
)

// shardIndex is Hugging Face's model.safetensors.index.json or pytorch_model.bin.index.json:
// the file beside it in which each tensor is.
type shardIndex struct {
	WeightMap map[string]string `json:"weight_map"`
}

// mostShardIndex is the most bytes that an index of shards may have.
const mostShardIndex = 64 << 20

// isShardIndex reports whether a file is a JSON object with the key weight_map.
func isShardIndex(head []byte, r io.ReaderAt, size int64) bool {
	if !bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) || size > mostShardIndex {
		return false
	}
	text := make([]byte, size)
	return readFull(r, text, 0) == nil && bytes.Contains(text, []byte(`"weight_map"`)) && !bytes.Contains(text, []byte(`"weightsManifest"`))
}

// readShardIndex reads the headers of the shards. The format is theirs.
func readShardIndex(r io.ReaderAt, size int64, beside *folder) (*header, Format, error) {
	text := make([]byte, size)
	if err := readFull(r, text, 0); err != nil {
		return nil, "", err
	}
	var index shardIndex
	if err := boundedjson.Unmarshal(text, &index); err != nil {
		return nil, "", malformed("", "index of shards: %v", err)
	}
	if len(index.WeightMap) == 0 {
		return nil, "", malformed("", "index of shards without tensors")
	}
	names := map[string]bool{}
	for tensor, name := range index.WeightMap {
		if !isFileName(name) {
			return nil, "", malformed(tensor, "shard %s, want the name of a file beside the index", display(name))
		}
		names[name] = true
	}
	all := &header{meta: map[string]string{}}
	var format Format
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		shard, err := beside.file(name)
		if err != nil {
			return nil, "", shardError(name, err)
		}
		h, of, err := readShard(shard)
		if err != nil {
			return nil, "", shardError(name, err)
		}
		if format != "" && of != format {
			return nil, "", malformed("", "shard %s is %s, the one before it %s", display(name), of, format)
		}
		format = of
		maps.Copy(all.meta, h.meta)
		all.shards = append(all.shards, shard)
		for _, e := range h.entries {
			if index.WeightMap[e.Name] != name {
				return nil, "", malformed(e.Name, "in shard %s, but not by the index", display(name))
			}
			seen[e.Name] = true
			all.entries = append(all.entries, elsewhere(shard, e))
		}
	}
	for _, tensor := range slices.Sorted(maps.Keys(index.WeightMap)) {
		if !seen[tensor] {
			return nil, "", malformed(tensor, "not in shard %s, where the index has it", display(index.WeightMap[tensor]))
		}
	}
	return all, format, nil
}

// readShard reads the header of a shard, which holds tensors only.
func readShard(shard *folderFile) (*header, Format, error) {
	head := make([]byte, min(shard.size, sniffBytes))
	if err := readFull(shard, head, 0); err != nil {
		return nil, "", err
	}
	for _, f := range formats {
		if f.format == PyTorch && f.is(head, shard, shard.size) {
			h, err := f.read(shard, shard.size, nil)
			return h, PyTorch, err
		}
	}
	h, err := readHeader(shard, shard.size)
	return h, Safetensors, err
}

// elsewhere returns the entry of another file, with a function that reads it there.
func elsewhere(r io.ReaderAt, e entry) entry {
	if e.read != nil {
		return e // it holds its own reader
	}
	begin, width, dtype := e.begin, int64(dtypeBits(e.DType)/8), e.DType
	e.begin, e.end = 0, 0
	if width == 0 {
		return e // of a type that is refused before it is read
	}
	e.read = func(start int, dst []float32) error {
		buf := make([]byte, min(chunk, width*int64(len(dst))))
		for at := begin + int64(start)*width; len(dst) > 0; {
			n := min(len(dst), len(buf)/int(width))
			if err := readFull(r, buf[:int64(n)*width], at); err != nil {
				return err
			}
			convert(dst[:n], buf[:int64(n)*width], dtype)
			dst, at = dst[n:], at+int64(n)*width
		}
		return nil
	}
	return e
}

// shardError names the shard in an error.
func shardError(name string, err error) error {
	switch e := err.(type) {
	case *FolderError:
		return e
	case *FormatError:
		return &FormatError{Tensor: e.Tensor, Reason: "shard " + display(name) + ": " + e.Reason}
	}
	return malformed("", "shard %s: %v", display(name), pathless(err))
}
