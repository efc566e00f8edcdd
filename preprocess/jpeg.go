package preprocess

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image/jpeg"
	"slices"
)

// maxScans is the most scans of a JPEG. Encoders write about ten; each takes time in
// proportion to the image, however few bytes it has. libjpeg-turbo's own fuzzers stop at as
// many.
const maxScans = 500

// jpegMarkers is what the markers of a JPEG tell.
type jpegMarkers struct {
	frame     byte     // marker of the first frame, 0xc0 to 0xcf; 0: none
	precision int      // bits a channel
	sampling  [][2]int // of each component, across and down
	adobe     bool     // there is Adobe's marker, which tells how colours are stored
	scans     int
}

const (
	markerEOI   = 0xd9
	markerSOS   = 0xda
	markerAdobe = 0xee
)

// readJPEGMarkers reads the markers of a file up to its end or to what isn't well formed,
// which is left to the decoder to report.
func readJPEGMarkers(data []byte) jpegMarkers {
	var m jpegMarkers
	for at := 2; ; {
		next := bytes.IndexByte(data[min(at, len(data)):], 0xff)
		if next < 0 {
			return m
		}
		for at += next; at < len(data) && data[at] == 0xff; {
			at++
		}
		if at+3 > len(data) || data[at] == markerEOI {
			return m
		}
		marker := data[at]
		if marker == 0 || marker == 1 || 0xd0 <= marker && marker <= 0xd8 { // no segment follows
			at++
			continue
		}
		size := int(binary.BigEndian.Uint16(data[at+1:]))
		if size < 2 || at+1+size > len(data) {
			return m
		}
		m.add(marker, data[at+3:at+1+size])
		at += 1 + size
	}
}

// add takes a marker's segment.
func (m *jpegMarkers) add(marker byte, segment []byte) {
	switch {
	case marker == markerSOS:
		m.scans++
	case marker == markerAdobe && bytes.HasPrefix(segment, []byte("Adobe")) && len(segment) >= 12:
		m.adobe = true
	case marker&0xf0 == 0xc0 && marker != 0xc4 && marker != 0xc8 && marker != 0xcc && m.frame == 0 && len(segment) >= 6:
		m.frame, m.precision = marker, int(segment[0])
		for at := 6; at+3 <= len(segment); at += 3 {
			m.sampling = append(m.sampling, [2]int{int(segment[at+1] >> 4), int(segment[at+1] & 15)})
		}
	}
}

// check returns an error for a kind of JPEG that isn't read.
func (m jpegMarkers) check() error {
	kind := ""
	switch m.frame {
	case 0xc3:
		kind = "lossless"
	case 0xc9, 0xca, 0xcb:
		kind = "arithmetic-coded"
	case 0xc5, 0xc6, 0xc7, 0xcd, 0xce, 0xcf:
		kind = "hierarchical"
	}
	if kind == "" && m.frame != 0 && m.precision != 8 {
		kind = fmt.Sprintf("%d bits a channel", m.precision)
	}
	switch {
	case kind != "":
		return fmt.Errorf("%s, want a baseline or progressive JPEG of 8 bits: convert it with magick IN OUT.png", kind)
	case m.scans > maxScans:
		return fmt.Errorf("%d scans, want at most %d", m.scans, maxScans)
	}
	return nil
}

// bytes returns the memory of decoding w×h pixels.
func (m jpegMarkers) bytes(w, h int) int64 {
	samples, across, down := 0, 1, 1
	for _, s := range m.sampling {
		samples += s[0] * s[1]
		across, down = max(across, s[0]), max(down, s[1])
	}
	const (
		coefficient = 4 // bytes; a progressive JPEG keeps them all
		block       = 16
	)
	w, h = (w+across*block)&^7, (h+down*block)&^7 // whole blocks
	each := 1
	if m.frame == 0xc2 {
		each += coefficient
	}
	total := pixelBytes(w, h, max(samples*each, 1)) / int64(across*down)
	switch {
	case len(m.sampling) == 4: // as RGB, then with black
		total += pixelBytes(w, h, 8)
	case m.adobe:
		total += pixelBytes(w, h, 4)
	}
	return total + pixelBytes(w, h, rgb)
}

func headerJPEG(data []byte) (Header, error) {
	m := readJPEGMarkers(data)
	if err := m.check(); err != nil {
		return Header{}, err
	}
	c, err := jpeg.DecodeConfig(bytes.NewReader(data))
	return Header{W: c.Width, H: c.Height, DecodeBytes: m.bytes(c.Width, c.Height)}, jpegError(err)
}

// jpegError adds what to do to the error of a JPEG that package jpeg doesn't read.
func jpegError(err error) error {
	if _, ok := errors.AsType[jpeg.UnsupportedError](err); ok {
		return fmt.Errorf("%w: convert it with magick IN OUT.png", err)
	}
	return err
}

func decodeJPEG(data []byte, r *cancelled, _ Header) (*Image, error) {
	if m := readJPEGMarkers(data); len(m.sampling) == 4 && !m.adobe {
		r.data.Reset(withAdobe(data))
	}
	m, err := jpeg.Decode(r)
	if err != nil {
		return nil, jpegError(err)
	}
	return convert(m, jfif)
}

// withAdobe returns a JPEG of four components with Adobe's marker for CMYK. Without it
// libjpeg takes the components as CMYK, and PIL takes every CMYK as Adobe's, inverted.
func withAdobe(data []byte) []byte {
	const soi = 2
	marker := append([]byte{0xff, markerAdobe, 0, 14}, "Adobe\x00\x64\x00\x00\x00\x00\x00"...)
	return slices.Concat(data[:soi], marker, data[soi:])
}
