package preprocess

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"slices"

	"golang.org/x/image/webp"
)

const (
	riffHeader  = 12 // RIFF, size, WEBP
	chunkHeader = 8  // name, size
)

// nextChunk returns the first chunk of data and what follows it. ok is false at the end, or if
// the chunk is cut off.
func nextChunk(data []byte) (name string, body, rest []byte, ok bool) {
	if len(data) < chunkHeader {
		return "", nil, nil, false
	}
	size := int64(binary.LittleEndian.Uint32(data[4:]))
	body = data[chunkHeader:]
	if size > int64(len(body)) {
		return "", nil, nil, false
	}
	end := min(size+size&1, int64(len(body)))
	return string(data[:4]), body[:size], body[end:], true
}

// frameWebP is the first frame of an animated WebP.
type frameWebP struct {
	canvas image.Point
	at     image.Rectangle // on the canvas
	still  []byte          // the frame without alpha, as a file
}

// animation returns the first frame of an animated WebP; ok is false if the file isn't
// animated.
func animation(data []byte) (f frameWebP, ok bool, err error) {
	const (
		animated    = 1 << 1 // flag
		frameHeader = 16     // x/2, y/2, width-1, height-1, duration, flags
	)
	name, body, rest, more := nextChunk(data[min(riffHeader, len(data)):])
	if !more || name != "VP8X" || len(body) < 10 || body[0]&animated == 0 {
		return f, false, nil
	}
	f.canvas = image.Pt(1+uint24(body[4:]), 1+uint24(body[7:]))
	for more {
		if name, body, rest, more = nextChunk(rest); name == "ANMF" && len(body) >= frameHeader {
			break
		}
	}
	if !more {
		return f, true, errors.New("animated, without a first frame")
	}
	x, y := 2*uint24(body), 2*uint24(body[3:])
	f.at = image.Rect(x, y, x+1+uint24(body[6:]), y+1+uint24(body[9:]))
	if !f.at.In(image.Rectangle{Max: f.canvas}) {
		return f, true, fmt.Errorf("animated, with a first frame at %v of %v", f.at, f.canvas)
	}
	for body, more = body[frameHeader:], true; more; {
		var picture []byte
		whole := body
		if name, picture, body, more = nextChunk(body); name == "VP8 " || name == "VP8L" {
			f.still = stillWebP(whole[:chunkHeader+len(picture)])
			return f, true, nil
		}
	}
	return f, true, errors.New("animated, with an empty first frame")
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// stillWebP returns a file with one chunk.
func stillWebP(chunk []byte) []byte {
	if len(chunk)&1 != 0 {
		chunk = append(slices.Clip(chunk), 0)
	}
	file := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(4+len(chunk)))
	return slices.Concat(file, []byte("WEBP"), chunk)
}

func headerWebP(data []byte) (Header, error) {
	f, animated, err := animation(data)
	if err != nil {
		return Header{}, err
	}
	still := data
	if animated {
		still = f.still
	}
	c, err := webp.DecodeConfig(bytes.NewReader(still))
	if err != nil {
		return Header{}, err
	}
	// A lossless frame, or an alpha channel, which is coded as one, and its copy.
	bytes := pixelBytes(c.Width, c.Height, 4+4+2+rgb)
	if !animated {
		return Header{W: c.Width, H: c.Height, DecodeBytes: bytes}, nil
	}
	if c.Width != f.at.Dx() || c.Height != f.at.Dy() {
		return Header{}, fmt.Errorf("animated, with a first frame of %d×%d pixels, want %d×%d", c.Width, c.Height, f.at.Dx(), f.at.Dy())
	}
	return Header{W: f.canvas.X, H: f.canvas.Y, DecodeBytes: bytes + pixelBytes(f.canvas.X, f.canvas.Y, rgb)}, nil
}

// decodeWebP decodes a still image, or the first frame of an animation on its canvas, which
// is black elsewhere as libwebp's is.
func decodeWebP(data []byte, r *cancelled, h Header) (*Image, error) {
	f, animated, err := animation(data)
	if err != nil {
		return nil, err
	}
	if animated {
		r.data.Reset(f.still)
	}
	m, err := webp.Decode(r)
	if err != nil {
		return nil, err
	}
	frame, err := convert(m, vp8)
	if err != nil || frame.W == h.W && frame.H == h.H {
		return frame, err
	}
	if !animated {
		return nil, fmt.Errorf("a frame of %d×%d pixels, want %d×%d", frame.W, frame.H, h.W, h.H)
	}
	out := NewImage(h.W, h.H)
	out.paste(frame, f.at.Min)
	return out, nil
}
