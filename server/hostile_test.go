package server

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/verydeep/vgg/internal/oip"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// giants are the beginnings of files that say they are 100,000 × 100,000 pixels, or as many as
// their format can say.
func giants() map[string][]byte {
	const side = 100_000
	be := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	le := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
	png := vggtest.PNG(8, 8, vggtest.Noise(1))
	copy(png[16:], be(side))
	copy(png[20:], be(side))
	copy(png[29:], be(crc32.ChecksumIEEE(png[12:29])))
	bmp := append([]byte("BM"), make([]byte, 52)...)
	copy(bmp[10:], le(54))
	copy(bmp[14:], le(40))
	copy(bmp[18:], le(side))
	copy(bmp[22:], le(side))
	copy(bmp[26:], []byte{1, 0, 24, 0})
	entry := func(tag, kind uint16, value uint32) []byte {
		e := binary.LittleEndian.AppendUint16(nil, tag)
		e = binary.LittleEndian.AppendUint16(e, kind)
		return append(append(e, le(1)...), le(value)...)
	}
	tiff := append([]byte("II*\x00"), le(8)...)
	tiff = append(tiff, 5, 0)
	for _, e := range [][]byte{entry(256, 4, side), entry(257, 4, side), entry(258, 3, 8), entry(259, 3, 1), entry(262, 3, 1)} {
		tiff = append(tiff, e...)
	}
	tiff = append(tiff, le(0)...)
	webp := append([]byte("RIFF"), le(30)...)
	webp = append(webp, "WEBPVP8X"...)
	webp = append(webp, le(10)...)
	webp = append(webp, 0, 0, 0, 0, 0x9f, 0x86, 0x01, 0x9f, 0x86, 0x01) // less 1, in 24 bits
	return map[string][]byte{
		"PNG": png, "BMP": bmp, "TIFF": tiff, "WebP": webp,
		"PNM":  []byte("P6\n100000 100000\n255\n"),
		"GIF":  append([]byte("GIF89a\xff\xff\xff\xff\x80\x00\x00"), make([]byte, 10)...),
		"JPEG": []byte("\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9"),
	}
}

// TestHostile: what nobody in good faith sends is refused by the right code, in little memory.
func TestHostile(t *testing.T) {
	s, h := serve(t, Options{AllowLoad: true}, tiny.Random(16, 1))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	places := []string{"/v1/classify", "/v1/explain", "/v1/features", "/v1/activations", "/v1/preprocess"}
	for format, data := range giants() {
		for _, place := range places {
			if code, body, _ := ask(t, "POST", h.URL+place, data); code != 413 && code != 400 {
				t.Errorf("%s to %s: code %d: %s", format, place, code, body)
			}
		}
		text := fmt.Sprintf(`{"inputs":[{"name":"input","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":%d}}]}`, len(data)+4)
		code, body, _ := ask(t, "POST", h.URL+"/v2/models/tiny/infer", append([]byte(text), withLength(data)...), "Inference-Header-Content-Length", fmt.Sprint(len(text)))
		if code != 413 && code != 400 {
			t.Errorf("%s as a tensor: code %d: %s", format, code, body)
		}
	}
	var bomb bytes.Buffer
	z, _ := gzip.NewWriterLevel(&bomb, gzip.BestCompression)
	zeros := make([]byte, 1<<20)
	for range 200 {
		z.Write(zeros)
	}
	z.Close()
	for _, place := range append(places, "/v2/models/tiny/infer", "/v2/repository/index") {
		code, body, _ := ask(t, "POST", h.URL+place, bomb.Bytes(), "Content-Encoding", "gzip")
		refused(t, code, body, 413, "after its compression")
	}
	for header, places := range map[string][]string{"Content-Encoding": append(places, "/v2/models/tiny/infer"), "Inference-Header-Content-Length": {"/v2/models/tiny/infer"}} {
		for _, place := range places { // one would be heeded, the other ignored
			code, body, _ := ask(t, "POST", h.URL+place, vggtest.PNG(40, 40, vggtest.Noise(1)), header, "0", header, "0")
			refused(t, code, body, 400, "stands 2 times")
		}
	}
	for _, name := range []string{"../../etc/passwd", "..", ".", "/etc/passwd", `..\..\x`, "tiny/../tiny", "tiny\x00", strings.Repeat("x", 5000), "%2e%2e"} {
		escaped := url.PathEscape(name)
		for _, address := range []string{"/v2/models/" + escaped, "/v2/repository/models/" + escaped + "/load", "/v1/classify?model=" + url.QueryEscape(name), "/v1/layers?model=" + url.QueryEscape(name)} {
			method := "POST"
			if strings.HasPrefix(address, "/v2/models/") || strings.HasPrefix(address, "/v1/layers") {
				method = "GET"
			}
			code, body, _ := ask(t, method, h.URL+address, nil)
			if strings.Trim(name, ".") == "" && code == 200 { // the address of /v2 itself, after dots were resolved
				continue
			}
			if code != 404 && code != 400 && code != 405 {
				t.Errorf("%s %.80s: code %d: %.200s", method, address, code, body)
			}
			if len(body) > 2000 || strings.Contains(string(body), "root:") {
				t.Errorf("%.80s: an answer of %d bytes: %.200s", address, len(body), body)
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d MiB more are in use", grown>>20)
	}
	if took := int64(after.TotalAlloc-before.TotalAlloc) >> 20; took > 2000 {
		t.Errorf("%d MiB were taken in all", took)
	}
	if n := s.bodies.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are still counted", n)
	}
}

// TestQueryParameters: each address takes the parameters that openapi.json lists, and no other.
func TestQueryParameters(t *testing.T) {
	_, h := serve(t, Options{}, tiny.Random(16, 1))
	var file struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Schema   struct {
					Type string
					Enum []string
				}
			}
		}
	}
	if err := json.Unmarshal(openAPI, &file); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, methods := range file.Paths {
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		address := h.URL + strings.NewReplacer("{file}", "x", "{index}", "0", "{name}", "x", "{number}", "0").Replace(path)
		for method, o := range methods {
			for _, p := range o.Parameters {
				if p.In != "query" {
					continue
				}
				asked++
				_, body, _ := ask(t, strings.ToUpper(method), address+"?"+url.QueryEscape(p.Name)+"=1", []byte("no picture"))
				if strings.Contains(string(body), "is unknown") {
					t.Errorf("%s %s: parameter %s is described, and the answer is %s", method, path, p.Name, body)
				}
			}
			if len(o.Parameters) == 0 || strings.HasPrefix(path, "/v1/samples") {
				continue
			}
			code, body, _ := ask(t, strings.ToUpper(method), address+"?not-a-parameter=1", []byte("no picture"))
			if code == 200 || code == 400 && !strings.Contains(string(body), "not-a-parameter") {
				t.Errorf("%s %s takes a parameter that isn't described: code %d: %s", method, path, code, body)
			}
		}
	}
	if asked < 40 {
		t.Errorf("%d parameters asked", asked)
	}
}

// TestBodiesInMemory: what is made of bodies counts among them, over gRPC from the first byte on,
// and is given back.
func TestBodiesInMemory(t *testing.T) {
	const most = 200 << 10
	s, h := serve(t, Options{AllowTeach: true, Limits: Limits{Body: 100 << 10, Bodies: most}}, tiny.Random(16, 1))
	lessons, kind := lessonForm(t, lesson{"warm", reds(20)}, lesson{"cold", blues(20)})
	side := s.models.models["tiny"].current.model.Net.Options().Input
	values := strings.Repeat("0.00000,", 3*side*side-1) + "0.00000"
	list := fmt.Sprintf(`{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3,%d,%[1]d],"data":[%s]}]}`, side, values)
	padded := list[:len(list)-2] + strings.Repeat(" ", 1000) + list[len(list)-2:]
	infer := "/v2/models/tiny/infer"
	wide := strings.Replace(list, "0.00000,", "0."+strings.Repeat("0", 40<<10)+",", 1)
	message, err := proto.Marshal(&oip.ModelInferRequest{ModelName: "tiny", Inputs: []*oip.ModelInferRequest_InferInputTensor{{Name: "input", Datatype: "FP32", Shape: []int64{1, 3, int64(side), int64(side)}}}, RawInputContents: [][]byte{make([]byte, 12*side*side)}})
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(message)
	z.Close()
	grpc := grpcService + "ModelInfer"
	held := int64(0) // by others
	for _, c := range []struct {
		what, place string
		body        []byte
		header      []string
		others      int64
		code        int
	}{
		{"JSON", infer, []byte(padded), nil, 0, 200},
		{"a long JSON", infer, []byte(wide), nil, 0, 429},
		{"a message", grpc, message, []string{"Content-Type", "application/proto"}, 0, 200},
		{"a message beside others", grpc, message, []string{"Content-Type", "application/proto"}, most - 100, 429},
		{"a compressed message", grpc, zipped.Bytes(), []string{"Content-Type", "application/proto", "Content-Encoding", "gzip"}, 0, 200},
		{"a compressed message beside others", grpc, zipped.Bytes(), []string{"Content-Type", "application/proto", "Content-Encoding", "gzip"}, most - 90<<10, 429},
		{"pictures to teach with", "/v1/teach", lessons, []string{"Content-Type", kind}, 0, 200},
		// There is room for the form, and not for the pictures in it.
		{"pictures to teach with beside others", "/v1/teach", lessons, []string{"Content-Type", kind}, most - doubled(len(lessons)) - 100, 429},
	} {
		s.bodies.Add(c.others)
		code, body, _ := ask(t, "POST", h.URL+c.place, c.body, c.header...)
		if code != c.code {
			t.Errorf("%s: code %d, want %d: %.200s", c.what, code, c.code, body)
		}
		s.bodies.Add(-c.others)
	}
	for range 100 { // an answer is there before its request's end
		if held = s.bodies.Load(); held == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d bytes are still counted", held)
}

// doubled is the memory of a body of n bytes that is read without its length.
func doubled(n int) int64 {
	size := int64(4 << 10)
	for size <= int64(n) {
		size *= 2
	}
	return size
}
