package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
)

// mutate returns one of the kind's files with some changes.
func (k *kind) mutate(rng *rand.Rand) []byte {
	b := slices.Clone(k.seeds[rng.IntN(len(k.seeds))])
	other := k.seeds[rng.IntN(len(k.seeds))]
	if bytes.HasPrefix(b, []byte("PK\x03\x04")) && rng.IntN(2) == 0 {
		if within := mutateEntry(rng, b, other); within != nil {
			return within
		}
	}
	change(rng, &b, other)
	if bytes.HasPrefix(b, []byte("\x89PNG")) && rng.IntN(2) == 0 {
		fixPNG(b)
	}
	return b
}

// change makes one to eight changes, mostly few.
func change(rng *rand.Rand, b *[]byte, other []byte) {
	n := 1
	for n < 8 && rng.IntN(2) == 0 {
		n++
	}
	for range n {
		*b = changeOnce(rng, *b, other)
	}
}

// number matches a number in text.
var number = regexp.MustCompile(`-?[0-9]+`)

func changeOnce(rng *rand.Rand, b, other []byte) []byte {
	if len(b) == 0 {
		return append(b, other...)
	}
	at := rng.IntN(len(b))
	if rng.IntN(4) == 0 {
		at = rng.IntN(min(len(b), 512)) // headers are at the beginning
	}
	switch rng.IntN(11) {
	case 0, 1:
		b[at] ^= 1 << rng.IntN(8)
	case 2:
		b[at] = byte(rng.UintN(256))
	case 3: // cut off
		return b[:at]
	case 4: // cut out
		return slices.Delete(b, at, min(len(b), at+1+rng.IntN(64)))
	case 5: // repeated
		return slices.Insert(b, at, slices.Clone(b[at:min(len(b), at+1+rng.IntN(256))])...)
	case 6: // spliced
		from := 0
		if len(other) > 0 {
			from = rng.IntN(len(other))
		}
		if rng.IntN(2) == 0 { // at the same place
			from = min(at, len(other))
		}
		return append(b[:at:at], other[from:]...)
	case 7: // a part of another in its place
		if len(other) > 0 {
			from := rng.IntN(len(other))
			copy(b[at:], other[from:min(len(other), from+1+rng.IntN(64))])
		}
	case 8, 9: // a length in binary
		setLength(rng, b, at)
	case 10: // a number in text
		text := number.FindIndex(b[at:])
		if text == nil {
			setLength(rng, b, at)
			break
		}
		v, err := strconv.ParseInt(string(b[at+text[0]:at+text[1]]), 10, 64)
		if err != nil {
			v = 0
		}
		return slices.Replace(b, at+text[0], at+text[1], strconv.AppendInt(nil, interesting(rng, v, len(b)), 10)...)
	}
	return b
}

// setLength changes a number of 1 to 8 bytes at a place.
func setLength(rng *rand.Rand, b []byte, at int) {
	order := []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}[rng.IntN(2)]
	switch n := 1 << rng.IntN(4); {
	case at+n > len(b) || n == 1:
		b[at] = byte(interesting(rng, int64(b[at]), len(b)))
	case n == 2:
		order.PutUint16(b[at:], uint16(interesting(rng, int64(order.Uint16(b[at:])), len(b))))
	case n == 4:
		order.PutUint32(b[at:], uint32(interesting(rng, int64(order.Uint32(b[at:])), len(b))))
	default:
		order.PutUint64(b[at:], uint64(interesting(rng, int64(order.Uint64(b[at:])), len(b))))
	}
}

// interesting returns a number in the place of v in a file of size bytes.
func interesting(rng *rand.Rand, v int64, size int) int64 {
	list := []int64{
		0, 1, -1, v + 1, v - 1, 2 * v, v / 2, -v, v << 8, int64(size), int64(size) - 1, int64(size) + 1, 127, 128, 255, 256,
		math.MaxInt16, math.MaxUint16, 1 << 20, 1 << 24, math.MaxInt32, math.MinInt32, math.MaxUint32, 1 << 40, math.MaxInt64, math.MinInt64, int64(rng.Uint64()),
	}
	return list[rng.IntN(len(list))]
}

// mutateEntry changes an entry of a ZIP file, or its name, and packs the file again. It
// returns nil if the file can't be read.
func mutateEntry(rng *rand.Rand, b, other []byte) []byte {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(z.File) == 0 {
		return nil
	}
	changed := rng.IntN(len(z.File))
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for i, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return nil
		}
		data, err := io.ReadAll(io.LimitReader(r, 1<<20))
		r.Close()
		if err != nil {
			return nil
		}
		name := []byte(f.Name)
		if i == changed {
			switch rng.IntN(12) {
			case 0:
				name = changeOnce(rng, name, other)
			case 1: // left out
				continue
			default:
				change(rng, &data, other)
			}
		}
		h := zip.FileHeader{Name: string(name), Method: f.Method, Extra: f.Extra}
		e, err := w.CreateHeader(&h)
		if err != nil {
			return nil
		}
		if _, err := e.Write(data); err != nil {
			return nil
		}
	}
	if err := w.Close(); err != nil {
		return nil
	}
	return out.Bytes()
}

// fixPNG sets the checksums of a PNG file's chunks, as far as they are whole.
func fixPNG(b []byte) {
	for at := 8; at+12 <= len(b); {
		n := int64(binary.BigEndian.Uint32(b[at:]))
		end := int64(at) + 8 + n
		if end+4 > int64(len(b)) {
			return
		}
		binary.BigEndian.PutUint32(b[end:], crc32.ChecksumIEEE(b[at+4:end]))
		at = int(end) + 4
	}
}
