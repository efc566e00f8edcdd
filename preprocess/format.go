package preprocess

import (
	"bytes"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"unicode/utf8"

	"github.com/bep/imagemeta"
	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"
)

// codec decodes one format.
type codec struct {
	config   func(io.Reader) (image.Config, error)
	pixels   func(data []byte, header image.Config) (*Image, error)
	metadata imagemeta.ImageFormat // 0 if the format has no EXIF
}

// codecFor returns the codec of a format that sniff names.
func codecFor(format string) (codec, bool) {
	switch format {
	case "JPEG":
		return codec{jpeg.DecodeConfig, decodeJPEG, imagemeta.JPEG}, true
	case "PNG":
		return codec{png.DecodeConfig, decodePNG, imagemeta.PNG}, true
	case "GIF":
		return codec{gif.DecodeConfig, decodeGIF, 0}, true
	case "WebP":
		return codec{webp.DecodeConfig, decodeWebP, imagemeta.WebP}, true
	case "BMP":
		return codec{bmp.DecodeConfig, decodeBMP, 0}, true
	}
	return codec{}, false
}

// known reports whether there is a codec for a format that sniff names.
func known(format string) bool {
	_, ok := codecFor(format)
	return ok
}

// sniff returns the name of what data looks like by its first bytes.
func sniff(data []byte) string {
	if len(data) == 0 {
		return "empty"
	}
	for _, m := range []struct {
		offset      int
		magic, name string
	}{
		{0, "\xff\xd8", "JPEG"},
		{0, "\x89PNG\r\n\x1a\n", "PNG"},
		{0, "GIF87a", "GIF"},
		{0, "GIF89a", "GIF"},
		{8, "WEBP", "WebP"},
		{0, "BM", "BMP"},
		{0, "II*\x00", "TIFF"},
		{0, "MM\x00*", "TIFF"},
		{4, "ftypavif", "AVIF"},
		{4, "ftyphei", "HEIC"},
		{4, "ftyp", "MP4 video"},
		{0, "\x00\x00\x01\x00", "Windows icon"},
		{0, "8BPS", "Photoshop document"},
		{0, "%PDF-", "PDF"},
		{0, "PK\x03\x04", "zip archive"},
		{0, "\x1f\x8b", "gzip archive"},
	} {
		if len(data) > m.offset && bytes.HasPrefix(data[m.offset:], []byte(m.magic)) {
			return m.name
		}
	}
	return sniffText(data)
}

// sniffText is sniff for data without a magic number.
func sniffText(data []byte) string {
	head := data[:min(len(data), 512)]
	zeros := 0
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		if r == 0 {
			zeros++
		} else if r == utf8.RuneError && n == 1 && (len(head) >= utf8.UTFMax || len(data) <= 512) {
			return "unknown data"
		} else if r < ' ' && r != '\t' && r != '\n' && r != '\r' && r != '\f' {
			return "unknown data"
		}
		head = head[n:]
	}
	trimmed := bytes.ToLower(bytes.TrimSpace(data[:min(len(data), 512)]))
	switch {
	case zeros == min(len(data), 512):
		return "zeros"
	case zeros > 0:
		return "unknown data"
	case bytes.HasPrefix(trimmed, []byte("<svg")):
		return "SVG"
	case bytes.HasPrefix(trimmed, []byte("<!doctype html")), bytes.HasPrefix(trimmed, []byte("<html")):
		return "HTML"
	case bytes.HasPrefix(trimmed, []byte("version https://git-lfs")):
		return "Git LFS pointer"
	}
	return "text"
}
