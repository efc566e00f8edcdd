package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// safetensorsOf is a file with this header and so many bytes of data.
func safetensorsOf(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

// torchOf is a file of torch.save with this pickle.
func torchOf(t testing.TB, pickle string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range []struct{ name, data string }{{"archive/data.pkl", pickle}, {"archive/version", "3\n"}} {
		f, err := w.CreateHeader(&zip.FileHeader{Name: m.name, Method: zip.Store})
		if err == nil {
			_, err = io.WriteString(f, m.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// kerasOf is a .keras file with this config, as it is stored.
func kerasOf(t testing.TB, config string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range []struct{ name, data string }{{"metadata.json", `{"keras_version": "3.0.0"}`}, {"config.json", config}, {"model.weights.h5", "\x89HDF\r\n\x1a\n"}} {
		f, err := w.CreateHeader(&zip.FileHeader{Name: m.name, Method: zip.Store})
		if err == nil {
			_, err = io.WriteString(f, m.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// h5Of is a fixture's file of Keras with another config of the model: a string of variable
// length in a global heap of its own, at the end of the file.
func h5Of(t testing.TB, config string) []byte {
	t.Helper()
	b := kerasFixture(t, "normalised.h5")
	begin := bytes.Index(b, []byte(`{"class_name"`))
	heap := bytes.LastIndex(b[:begin], []byte("GCOL"))
	if heap < 0 {
		t.Fatal("no config in a global heap")
	}
	// The attribute's element: the length of the text, the heap's address, the number in it.
	length := json.NewDecoder(bytes.NewReader(b[begin:]))
	if err := length.Decode(new(any)); err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, uint32(length.InputOffset())), uint64(heap)))
	if at < 0 {
		t.Fatal("no reference to the config")
	}
	text := append([]byte(config), make([]byte, -len(config)&7)...)
	own := binary.LittleEndian.AppendUint32(nil, uint32(len(config)))
	own = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(own, uint64(len(b))), 1)
	copy(b[at:], own)
	b = append(b, "GCOL\x01\x00\x00\x00"...)
	b = binary.LittleEndian.AppendUint64(b, uint64(32+len(text)))
	b = append(b, 1, 0, 1, 0, 0, 0, 0, 0)
	b = append(binary.LittleEndian.AppendUint64(b, uint64(len(config))), text...)
	binary.LittleEndian.PutUint64(b[40:], uint64(len(b))) // of a superblock of version 0
	return b
}

// A file of Keras with another config is opened, so that what TestBombs refuses is the config.
func TestH5Of(t *testing.T) {
	b := h5Of(t, `{"class_name": "Sequential", "config": {"layers": [{"class_name": "Dropout", "config": {"name": "only"}}]}}`)
	f, err := OpenReader(t.Context(), "a.h5", bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	old := kerasFixture(t, "normalised.h5")
	was, err := OpenReader(t.Context(), "a.h5", bytes.NewReader(old), int64(len(old)))
	if err != nil {
		t.Fatal(err)
	}
	defer was.Close()
	if len(f.Tensors()) != len(was.Tensors()) || reflect.DeepEqual(f.Layers(), was.Layers()) {
		t.Errorf("%d tensors, want %d, and other layers", len(f.Tensors()), len(was.Tensors()))
	}
}

// Files that say much in few bytes are refused in a small multiple of their size.
func TestBombs(t *testing.T) {
	zeros := `{"class_name":"Sequential","config":{"layers":[` + strings.Repeat("0,", 1<<20) + `0]}}`
	objects := `{"class_name":"Sequential","config":[` + strings.Repeat("{},", 1<<20) + `0]}`
	deep := strings.Repeat(`{"class_name":"Sequential","config":[`, 1<<16)
	var keys strings.Builder
	keys.WriteString(`{"__metadata__":{`)
	for i := range 1 << 20 {
		fmt.Fprintf(&keys, `"%x":"",`, i)
	}
	metadata := strings.TrimSuffix(keys.String(), ",") + "}}"
	for name, file := range map[string][]byte{
		"safetensors, a million keys of metadata": safetensorsOf(metadata, 0),
		"pickle of DUPs":                     torchOf(t, "\x80\x02N"+strings.Repeat("2", 15<<20)+"."),
		"pickle of a long list":              torchOf(t, "\x80\x02]("+strings.Repeat("N", 15<<20)+"e."),
		"pickle of empty lists":              torchOf(t, "\x80\x02]"+strings.Repeat("]a", 15<<19)+"."),
		".keras of a million layers 0":       kerasOf(t, zeros),
		".keras of a million layers {}":      kerasOf(t, objects),
		".keras of models in models":         kerasOf(t, deep),
		".h5 of a million layers 0":          h5Of(t, zeros),
		".h5 of a million layers {}":         h5Of(t, objects),
		".h5 of models in models":            h5Of(t, deep),
		"TensorFlow.js of a million layers":  []byte(`{"format":"layers-model","modelTopology":` + zeros + `,"weightsManifest":[]}`),
		"TensorFlow.js of a million tensors": []byte(`{"format":"layers-model","weightsManifest":[{"paths":["a"],"weights":[` + strings.Repeat("{},", 1<<20) + `{}]}]}`),
		"an index of a million shards":       []byte(`{"weight_map":{` + strings.Repeat(`"":"",`, 1<<20) + `"a":"b"}}`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := OpenReader(t.Context(), name, bytes.NewReader(file), int64(len(file)))
		if err == nil {
			f.Close()
			t.Errorf("%s: opened", name)
		}
		runtime.ReadMemStats(&after)
		if _, ok := errors.AsType[*FormatError](err); !ok {
			t.Errorf("%s: %v, want a *FormatError", name, err)
		}
		// Of what is allocated most is garbage soon. A compressed file may inflate.
		if used, most := after.TotalAlloc-before.TotalAlloc, 10*uint64(len(file))+32<<20; used > most {
			t.Errorf("%s: %d MiB allocated for %d", name, used>>20, len(file)>>20)
		} else {
			t.Logf("%s: %.1f MiB allocated for %.1f: %v", name, float64(used)/(1<<20), float64(len(file))/(1<<20), err)
		}
	}
}
