package preprocess

import (
	"bytes"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/bep/imagemeta"
)

// codec decodes one format.
type codec struct {
	header   func(data []byte) (Header, error)
	pixels   func(data []byte, r *cancelled, h Header) (*Image, error) // r reads data
	metadata imagemeta.ImageFormat                                     // 0 if the format has no EXIF
}

// codecFor returns the codec of a format that sniff names.
func codecFor(format string) (codec, bool) {
	switch format {
	case "JPEG":
		return codec{headerJPEG, decodeJPEG, imagemeta.JPEG}, true
	case "PNG":
		return codec{headerPNG, decodePNG, imagemeta.PNG}, true
	case "GIF":
		return codec{headerGIF, decodeGIF, 0}, true
	case "WebP":
		return codec{headerWebP, decodeWebP, imagemeta.WebP}, true
	case "BMP":
		return codec{headerBMP, decodeBMP, 0}, true
	case "TIFF":
		return codec{headerTIFF, decodeTIFF, imagemeta.TIFF}, true
	case "PNM":
		return codec{headerPNM, decodePNM, 0}, true
	}
	return codec{}, false
}

// rgb is the size of a pixel of an [Image] in bytes.
const rgb = 3

// pixelBytes returns the memory of w×h pixels of so many bytes each. A size that a header
// makes up is as large as memory can be.
func pixelBytes(w, h, each int) int64 {
	if w < 1 || h < 1 {
		return 0
	}
	if int64(h) > math.MaxInt64/int64(w)/int64(each) {
		return math.MaxInt64
	}
	return int64(w) * int64(h) * int64(each)
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
	for _, m := range magics {
		if len(data) > m.offset && bytes.HasPrefix(data[m.offset:], []byte(m.magic)) {
			if box := data[:min(len(data), 64)]; m.name == "HEIC" && (bytes.Contains(box, []byte("avif")) || bytes.Contains(box, []byte("avis"))) {
				return "AVIF" // a general brand before that of the coding
			}
			return m.name
		}
	}
	if isPNM(data) {
		return "PNM"
	}
	return sniffText(data)
}

// magics are the first bytes of formats, in the order in which they are looked for.
var magics = []struct {
	offset      int
	magic, name string
}{
	{0, "\xff\xd8\xff\xf7", "JPEG-LS"},
	{0, "\xff\xd8", "JPEG"},
	{0, "\x89PNG\r\n\x1a\n", "PNG"},
	{0, "GIF87a", "GIF"},
	{0, "GIF89a", "GIF"},
	{8, "WEBP", "WebP"},
	{0, "BM", "BMP"},
	{8, "CR\x02\x00", rawOf("CR2")},
	{0, "II*\x00", "TIFF"},
	{0, "MM\x00*", "TIFF"},
	{0, "II+\x00", "BigTIFF"},
	{0, "MM\x00+", "BigTIFF"},
	{0, "IIRO", rawOf("ORF")},
	{0, "IIRS", rawOf("ORF")},
	{0, "MMOR", rawOf("ORF")},
	{0, "IIU\x00", rawOf("RW2")},
	{0, "FUJIFILMCCD-RAW", rawOf("RAF")},
	{0, "FOVb", rawOf("X3F")},
	{4, "ftypcrx", rawOf("CR3")},
	{4, "ftypavi", "AVIF"},
	{4, "ftyphei", "HEIC"},
	{4, "ftyphev", "HEIC"},
	{4, "ftypmif1", "HEIC"},
	{4, "ftypmsf1", "HEIC"},
	{4, "ftyp", "MP4 video"},
	{0, "\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"},
	{0, "\xff\x0a", "JPEG XL"},
	{0, "\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"},
	{0, "\xff\x4f\xff\x51", "JPEG 2000"},
	{0, "\x00\x00\x01\x00", "Windows icon"},
	{0, "icns", "Mac icon"},
	{0, "8BPS", "Photoshop document"},
	{0, "gimp xcf", "GIMP image"},
	{0, "v/1\x01", "OpenEXR"},
	{0, "#?RADIANCE", "Radiance HDR"},
	{0, "qoif", "QOI"},
	{0, "DDS ", "DirectDraw surface"},
	{0, "P7\n", "PAM"},
	{0, "PF\n", "PFM"},
	{0, "Pf\n", "PFM"},
	{0, "SIMPLE  =", "FITS"},
	{128, "DICM", "DICOM"},
	{0, "\x93NUMPY", "NumPy array"},
	{0, "\x89HDF\r\n\x1a\n", "HDF5"},
	{0, "\x00\x05\x16\x07", "AppleDouble (a Mac's ._ file)"},
	{0, "%PDF-", "PDF"},
	{0, "%!PS", "PostScript"},
	{8, "AVI ", "AVI video"},
	{0, "\x1aE\xdf\xa3", "Matroska video"},
	{0, "PK\x03\x04", "zip archive"},
	{0, "\x1f\x8b", "gzip archive"},
	{0, "7z\xbc\xaf\x27\x1c", "7z archive"},
	{0, "Rar!", "RAR archive"},
}

// rawOf names a camera's raw format.
func rawOf(name string) string { return cameraRaw + " (" + name + ")" }

const cameraRaw = "camera raw"

// adviceFor returns how an image of a format that isn't read is converted to one that is; ""
// for what is no image.
func adviceFor(format string) string {
	switch format {
	case "HEIC", "AVIF":
		return "convert it, with heif-convert IN OUT.png, magick IN OUT.png or, on a Mac, sips -s format png IN --out OUT.png"
	case "JPEG XL":
		return "convert it with djxl IN OUT.png"
	case "JPEG 2000":
		return "convert it with opj_decompress -i IN -o OUT.png or magick IN OUT.png"
	case "JPEG-LS", "BigTIFF", "PAM", "PFM", "OpenEXR", "Radiance HDR", "QOI", "DirectDraw surface", "Windows icon", "Mac icon", "Photoshop document", "GIMP image", "FITS":
		return "convert it with magick IN OUT.png"
	case "SVG":
		return "render it with rsvg-convert IN -o OUT.png or magick IN OUT.png"
	case "PDF", "PostScript":
		return "render its pages with pdftoppm -png IN OUT or magick -density 150 IN OUT.png"
	case "DICOM":
		return "convert it with dcm2img IN OUT.png, which asks for the window of grey levels"
	case "Git LFS pointer":
		return "fetch the file with git lfs pull"
	case "zip archive", "gzip archive", "7z archive", "RAR archive":
		return "unpack it"
	}
	if strings.HasPrefix(format, cameraRaw) {
		return "develop it with dcraw -T IN or, on a Mac, sips -s format png IN --out OUT.png"
	}
	return ""
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
	case bytes.HasPrefix(trimmed, []byte("<svg")), bytes.HasPrefix(trimmed, []byte("<?xml")) && bytes.Contains(trimmed, []byte("<svg")):
		return "SVG"
	case bytes.HasPrefix(trimmed, []byte("<!doctype html")), bytes.HasPrefix(trimmed, []byte("<html")):
		return "HTML"
	case bytes.HasPrefix(trimmed, []byte("version https://git-lfs")):
		return "Git LFS pointer"
	}
	return "text"
}
