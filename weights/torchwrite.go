package weights

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

// WritePyTorch writes tensors, in the order given, to a file at path that torch.load
// reads, with or without weights_only, as a state dict: an OrderedDict of tensors by name.
// Each tensor has a storage of its own, of the type that its Source asks for. The format is
// PyTorch's zip format. The data is uncompressed and aligned to 64 bytes, so that
// torch.load can map it into memory.
//
// The metadata is a member of the zip file, which Open reads and torch.load ignores. The
// file appears as that of [WriteSafetensors] does, the errors are the same, and equal
// arguments give equal bytes.
func WritePyTorch(path string, metadata map[string]string, tensors []Source) error {
	return writeAny(path, func(w io.Writer) error { return encodeTorch(w, metadata, tensors) })
}

// torchAlign is the alignment that torch.save gives the members' data, in bytes.
const torchAlign = 64

func encodeTorch(w io.Writer, metadata map[string]string, tensors []Source) error {
	pickle, err := torchPickle(tensors)
	if err != nil {
		return err
	}
	z := newZipEncoder(w)
	if err := z.text("archive/data.pkl", torchAlign, pickle); err != nil {
		return err
	}
	if err := z.text("archive/byteorder", torchAlign, []byte("little")); err != nil {
		return err
	}
	if len(metadata) > 0 {
		b, err := encodeMetadata(metadata)
		if err == nil {
			err = z.text("archive/"+torchMetadata, torchAlign, b)
		}
		if err != nil {
			return err
		}
	}
	for i, t := range tensors {
		if err := z.tensor(fmt.Sprintf("archive/data/%d", i), torchAlign, nil, t); err != nil {
			return err
		}
	}
	if err := z.text("archive/version", torchAlign, []byte("3\n")); err != nil {
		return err
	}
	return z.Close()
}

// torchPickle returns the pickle of an OrderedDict of tensors. Tensor i is in storage i.
func torchPickle(tensors []Source) ([]byte, error) {
	classes := map[string]string{"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage"}
	b := []byte("\x80\x02ccollections\nOrderedDict\n)R(")
	seen := make(map[string]bool, len(tensors))
	for i, t := range tensors {
		switch {
		case seen[t.Name]:
			return nil, fmt.Errorf("%s: name given twice", display(t.Name))
		case !utf8.ValidString(t.Name):
			return nil, fmt.Errorf("%s: name is not UTF-8", display(t.Name))
		case len(t.Shape) > maxAxes:
			return nil, fmt.Errorf("%s: %d axes, want at most %d", display(t.Name), len(t.Shape), maxAxes)
		case len(t.Name) > math.MaxInt32:
			return nil, fmt.Errorf("%s: name too long", display(t.Name))
		}
		seen[t.Name] = true
		size, err := t.size()
		if err != nil {
			return nil, err
		}
		b = pickleString(b, t.Name)
		b = append(b, "ctorch._utils\n_rebuild_tensor_v2\n(("...)
		b = pickleString(b, "storage")
		b = append(b, "ctorch\n"+classes[t.dtype()]+"\n"...)
		b = pickleString(b, fmt.Sprint(i))
		b = pickleString(b, "cpu")
		b = pickleInt(b, size/int64(dtypeBits(t.dtype())/8))
		b = append(b, "tQK\x00("...) // the storage, and an offset of 0
		for _, n := range t.Shape {
			b = pickleInt(b, int64(n))
		}
		b = append(b, "t("...)
		strides := make([]int64, len(t.Shape))
		stride := int64(1)
		for a := len(t.Shape) - 1; a >= 0; a-- {
			strides[a] = stride
			stride *= int64(max(t.Shape[a], 1))
		}
		for _, s := range strides {
			b = pickleInt(b, s)
		}
		// requires_grad, and no hooks.
		b = append(b, "t\x89ccollections\nOrderedDict\n)RtR"...)
	}
	return append(b, "u."...), nil
}

func pickleString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint32(append(b, 'X'), uint32(len(s)))
	return append(b, s...)
}

func pickleInt(b []byte, n int64) []byte {
	switch {
	case n < 1<<8 && n >= 0:
		return append(b, 'K', byte(n))
	case n <= math.MaxInt32 && n >= 0:
		return binary.LittleEndian.AppendUint32(append(b, 'J'), uint32(n))
	}
	return binary.LittleEndian.AppendUint64(append(b, '\x8a', 8), uint64(n))
}

func encodeMetadata(metadata map[string]string) ([]byte, error) {
	for k, v := range metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return nil, fmt.Errorf("metadata: %s: not UTF-8", display(k))
		}
	}
	b, err := json.Marshal(metadata) // by keys in order
	if err == nil && len(b) > maxHeader {
		err = fmt.Errorf("metadata of %d bytes, want at most %d", len(b), maxHeader)
	}
	return b, err
}
