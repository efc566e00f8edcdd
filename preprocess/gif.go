package preprocess

import (
	"bytes"
	"image"
	"image/gif"
)

func headerGIF(data []byte) (Header, error) {
	c, err := gif.DecodeConfig(bytes.NewReader(data))
	// A frame of indices and its colours, and the screen.
	return Header{W: c.Width, H: c.Height, DecodeBytes: pixelBytes(c.Width, c.Height, 1+2*rgb)}, err
}

// decodeGIF draws the first frame on the logical screen. The rest of the screen
// has the transparent colour or, if there is none, the palette's first, as in
// PIL.
func decodeGIF(data []byte, r *cancelled, screen Header) (*Image, error) {
	data, background := opaqueGIF(data)
	r.data.Reset(data)
	m, err := gif.Decode(r)
	if err != nil {
		return nil, err
	}
	frame, err := convert(m, jfif)
	if err != nil {
		return nil, err
	}
	at := m.Bounds()
	if at == image.Rect(0, 0, screen.W, screen.H) {
		return frame, nil
	}
	out := NewImage(screen.W, screen.H)
	if p, ok := m.(*image.Paletted); ok {
		colour := paletteTable(p.Palette)[background]
		for i := 0; i < len(out.Pix); i += 3 {
			copy(out.Pix[i:], colour[:])
		}
	}
	out.paste(frame, at.Min)
	return out, nil
}

// opaqueGIF returns the file without the transparency of its first frame, and
// the index of the colour that was transparent. Package gif would replace that
// colour by black. Malformed data is returned unchanged; the decoder reports
// it.
func opaqueGIF(data []byte) ([]byte, uint8) {
	const (
		headerLen     = 13
		hasTable      = 0x80
		extension     = 0x21
		control       = 0xf9
		isTransparent = 1
	)
	if len(data) < headerLen {
		return data, 0
	}
	at := headerLen
	if flags := data[10]; flags&hasTable != 0 {
		at += 3 << (flags&7 + 1)
	}
	var background uint8
	for at+7 < len(data) && data[at] == extension {
		if data[at+1] == control && data[at+2] == 4 {
			background = 0
			if data[at+3]&isTransparent != 0 {
				background = data[at+6]
				data = bytes.Clone(data)
				data[at+3] &^= isTransparent
			}
		}
		for at += 2; at < len(data) && data[at] != 0; {
			at += 1 + int(data[at])
		}
		at++
	}
	return data, background
}
