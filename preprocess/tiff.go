package preprocess

import (
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"math"
	"slices"

	"golang.org/x/image/tiff"
)

// TIFF tags, by their names in the specification.
const (
	tagNewSubfileType  = 254
	tagImageWidth      = 256
	tagImageLength     = 257
	tagBitsPerSample   = 258
	tagCompression     = 259
	tagPhotometric     = 262
	tagFillOrder       = 266
	tagSamplesPerPixel = 277
	tagRowsPerStrip    = 278
	tagPlanar          = 284
	tagPredictor       = 317
	tagTileWidth       = 322
	tagTileLength      = 323
	tagSubIFDs         = 330
	tagExtraSamples    = 338
	tagSampleFormat    = 339
	tagDNGVersion      = 50706
)

const (
	whiteIsZero = 0 // values of tagPhotometric
	blackIsZero = 1
	rgbColours  = 2
	palette     = 3
	filterArray = 32803
	linearRaw   = 34892

	uncompressed = 1 // values of tagCompression
	group3       = 3
	group4       = 4
	lzw          = 5
	deflate      = 8
	packBits     = 32773
	oldDeflate   = 32946

	premultiplied = 1 // value of tagExtraSamples
)

// tiffTags holds the numbers of the first page's tags, at most a few of each.
type tiffTags map[int][]int

// get returns a tag's first number.
func (t tiffTags) get(tag, byDefault int) int {
	if v := t[tag]; len(v) > 0 {
		return v[0]
	}
	return byDefault
}

// readTIFFTags reads the first directory. Tags whose values lie outside the file are left out:
// the decoder reports those that it needs.
func readTIFFTags(data []byte) (tiffTags, error) {
	const headerLen, entryLen, most = 8, 12, 8
	if len(data) < headerLen {
		return nil, errors.New("header: cut off")
	}
	var order binary.ByteOrder = binary.LittleEndian
	if data[0] == 'M' {
		order = binary.BigEndian
	}
	at := int64(order.Uint32(data[4:]))
	if at+2 > int64(len(data)) {
		return nil, fmt.Errorf("header: directory at byte %d of %d", at, len(data))
	}
	entries := int64(order.Uint16(data[at:]))
	if at += 2; at+entries*entryLen > int64(len(data)) {
		return nil, fmt.Errorf("header: a directory of %d entries at byte %d of %d", entries, at, len(data))
	}
	tags := tiffTags{}
	for entry := data[at : at+entries*entryLen]; len(entry) > 0; entry = entry[entryLen:] {
		tag, kind, count := int(order.Uint16(entry)), order.Uint16(entry[2:]), int64(order.Uint32(entry[4:]))
		size := map[uint16]int64{1: 1, 3: 2, 4: 4}[kind]
		count = min(count, most)
		value := entry[8:]
		if size == 0 {
			tags[tag] = nil
			continue
		}
		if size*int64(order.Uint32(entry[4:])) > 4 {
			from := int64(order.Uint32(value))
			if from+size*count > int64(len(data)) {
				continue
			}
			value = data[from:]
		}
		for i := range count {
			switch size {
			case 1:
				tags[tag] = append(tags[tag], int(value[i]))
			case 2:
				tags[tag] = append(tags[tag], int(order.Uint16(value[2*i:])))
			case 4:
				tags[tag] = append(tags[tag], int(order.Uint32(value[4*i:])))
			}
		}
	}
	return tags, nil
}

// raw returns the name of the camera's format where the page is the thumbnail of a raw
// photograph, or that itself; else "".
func (t tiffTags) raw() string {
	const reduced = 1
	_, dng := t[tagDNGVersion]
	_, others := t[tagSubIFDs]
	switch p := t.get(tagPhotometric, blackIsZero); {
	case dng:
		return "DNG"
	case p == filterArray || p == linearRaw:
		return "TIFF"
	case others && t.get(tagNewSubfileType, 0)&reduced != 0:
		return "NEF or ARW"
	}
	return ""
}

// unread names what of a page package tiff doesn't read, or would read wrongly; else "".
func (t tiffTags) unread() string {
	samples := t.get(tagSamplesPerPixel, 1)
	bits := t[tagBitsPerSample]
	if len(bits) == 0 {
		bits = []int{1}
	}
	compression, photometric := t.get(tagCompression, uncompressed), t.get(tagPhotometric, blackIsZero)
	switch {
	case !slices.Contains([]int{uncompressed, group3, group4, lzw, deflate, packBits, oldDeflate}, compression):
		return compressionName(compression)
	case photometric > palette:
		return photometricName(photometric)
	case t.get(tagPlanar, 1) != 1 && samples > 1:
		return "a plane for each channel"
	case slices.ContainsFunc(t[tagSampleFormat], func(f int) bool { return f != 1 }):
		return "signed or floating-point samples"
	case slices.ContainsFunc(bits, func(b int) bool { return b != bits[0] }) || bits[0] != 1 && bits[0] != 8 && bits[0] != 16 || bits[0] == 16 && photometric == palette:
		return fmt.Sprintf("samples of %d bits", bits[0])
	case len(bits) != samples || photometric != rgbColours && samples > 1 || photometric == rgbColours && samples != 3 && samples != 4:
		return fmt.Sprintf("%d samples a pixel", samples)
	case samples == 4 && t.get(tagExtraSamples, 0) != 1 && t.get(tagExtraSamples, 0) != 2:
		return "a fourth channel that isn't alpha"
	case bits[0] == 16 && t.get(tagExtraSamples, 0) == premultiplied:
		return "16-bit colours multiplied by alpha"
	case t.get(tagFillOrder, 1) != 1 && compression != group3 && compression != group4:
		return "bits in reverse order"
	}
	compressed := compression == lzw || compression == deflate || compression == oldDeflate
	if p := t.get(tagPredictor, 1); p != 1 && (p != 2 || !compressed || bits[0] == 1) {
		return fmt.Sprintf("predictor %d", p)
	}
	return ""
}

func compressionName(c int) string {
	switch c {
	case 2:
		return "CCITT run lengths"
	case 6, 7, linearRaw:
		return "JPEG compression"
	case 34712:
		return "JPEG 2000 compression"
	case 34925:
		return "LZMA compression"
	case 50000:
		return "Zstandard compression"
	case 50001:
		return "WebP compression"
	}
	return fmt.Sprintf("compression %d", c)
}

func photometricName(p int) string {
	switch p {
	case 4:
		return "a mask"
	case 5:
		return "CMYK"
	case 6:
		return "YCbCr"
	case 8, 9, 10:
		return "CIE L*a*b*"
	}
	return fmt.Sprintf("colours of kind %d", p)
}

func headerTIFF(data []byte) (Header, error) {
	t, err := readTIFFTags(data)
	if err != nil {
		return Header{}, err
	}
	if kind := t.raw(); kind != "" {
		return Header{}, &FormatError{Found: rawOf(kind)}
	}
	if what := t.unread(); what != "" {
		return Header{}, fmt.Errorf("%s, want grey, RGB or RGBA of 1, 8 or 16 bits, without JPEG: convert it with magick IN OUT.png", what)
	}
	h := Header{W: t.get(tagImageWidth, 0), H: t.get(tagImageLength, 0)}
	bits := t.get(tagBitsPerSample, 1)
	photometric := t.get(tagPhotometric, blackIsZero)
	h.Grey16 = bits == 16 && photometric <= blackIsZero
	each := 1
	if photometric == rgbColours {
		each = 4
	}
	if bits == 16 {
		each *= 2
	}
	// A strip or tile may inflate to eight bytes a pixel before it is refused, in a buffer that
	// has doubled.
	const inflated = 2 * 8
	blockW, blockH := t.get(tagTileWidth, h.W), t.get(tagTileLength, h.H)
	if t.get(tagTileWidth, 0) == 0 {
		blockW, blockH = h.W, min(h.H, t.get(tagRowsPerStrip, math.MaxInt32))
	}
	h.DecodeBytes = pixelBytes(h.W, h.H, each+rgb)
	if block := pixelBytes(blockW, blockH, inflated); h.DecodeBytes < math.MaxInt64-block {
		h.DecodeBytes += block
	}
	return h, nil
}

func decodeTIFF(data []byte, r *cancelled, h Header) (*Image, error) {
	m, err := tiff.Decode(r)
	if err != nil {
		return nil, err
	}
	if m, ok := m.(*image.RGBA); ok { // opaque, or multiplied by alpha
		out := NewImage(h.W, h.H)
		rows(out, m.Pix, m.Stride, 4, quotientRow)
		return out, nil
	}
	// Package tiff takes white runs for the level of white. By libtiff they are the level 0.
	t, err := readTIFFTags(data)
	if err != nil {
		return nil, err
	}
	out, err := convert(m, jfif)
	if c := t.get(tagCompression, uncompressed); err == nil && (c == group3 || c == group4) && t.get(tagPhotometric, blackIsZero) == blackIsZero {
		for i, v := range out.Pix {
			out.Pix[i] = ^v
		}
	}
	return out, err
}

// quotientRow takes bytes R, G, B, A, of which the first three are multiplied by the alpha, as
// PIL does.
func quotientRow(dst, src []uint8, _ int) {
	for d, s := 0, 0; s < len(src); d, s = d+3, s+4 {
		p, q := dst[d:d+3:d+3], src[s:s+4:s+4]
		for c := range p {
			switch alpha := int(q[3]); alpha {
			case 0:
				p[c] = 0
			case 255:
				p[c] = q[c]
			default:
				p[c] = uint8(min(int(q[c])*255/alpha, 255))
			}
		}
	}
}
