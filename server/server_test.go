package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// serve returns a server with one model, and its client side.
func serve(t *testing.T, o Options, m *vgg.Model) (*Server, *httptest.Server) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddModel(t.Context(), "tiny", m); err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(newContract(t).watch(t, s))
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s, h
}

// ask sends a request and returns the answer's code, body and header.
func ask(t *testing.T, method, url string, body []byte, header ...string) (int, []byte, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Add(header[i], header[i+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	answer, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.StatusCode, answer, w.Header
}

// refused asserts a code and a part of the error's text.
func refused(t *testing.T, code int, body []byte, want int, text string) {
	t.Helper()
	var e struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		t.Errorf("code %d: %q is no JSON: %v", code, body, err)
	}
	if code != want || !strings.Contains(e.Error, text) {
		t.Errorf("code %d, %q; want %d and %q", code, e.Error, want, text)
	}
}

func classifyJSON(t *testing.T, m *vgg.Model, data []byte) vgg.Answer {
	t.Helper()
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{Orient: m.Preprocess.Orient})
	if err != nil {
		t.Fatal(err)
	}
	top, err := m.Classify(im, vgg.DefaultTop)
	if err != nil {
		t.Fatal(err)
	}
	return vgg.Answer{Top: top}
}

func TestClassify(t *testing.T) {
	m := tiny.Random(16, 1)
	_, h := serve(t, Options{}, m)
	data := vggtest.PNG(60, 50, vggtest.Noise(2))
	want := classifyJSON(t, m, data)

	form := &bytes.Buffer{}
	writer := multipart.NewWriter(form)
	part, _ := writer.CreateFormFile("image", "cat.png")
	part.Write(data)
	writer.Close()
	object, _ := json.Marshal(map[string]string{"image": "data:image/png;base64," + base64.StdEncoding.EncodeToString(data)})
	zipped := &bytes.Buffer{}
	z := gzip.NewWriter(zipped)
	z.Write(data)
	z.Close()
	for name, c := range map[string]struct {
		method, path string
		body         []byte
		header       []string
		file         string
	}{
		"body":             {"POST", "/v1/classify", data, nil, ""},
		"put, as curl -T":  {"PUT", "/v1/classify", data, nil, ""},
		"put with a name":  {"PUT", "/v1/classify/cat.png", data, nil, "cat.png"},
		"form":             {"POST", "/v1/classify", form.Bytes(), []string{"Content-Type", writer.FormDataContentType()}, "cat.png"},
		"data-URL":         {"POST", "/v1/classify", object, []string{"Content-Type", "application/json"}, ""},
		"gzip":             {"POST", "/v1/classify", zipped.Bytes(), []string{"Content-Encoding", "gzip"}, ""},
		"curl --data":      {"POST", "/v1/classify", data, []string{"Content-Type", "application/x-www-form-urlencoded"}, ""},
		"named model":      {"POST", "/v1/classify?model=tiny", data, nil, ""},
		"all classes of 5": {"POST", "/v1/classify?top=5", data, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, body, _ := ask(t, c.method, h.URL+c.path, c.body, c.header...)
			var got classifyAnswer
			if err := json.Unmarshal(body, &got); code != 200 || err != nil {
				t.Fatalf("code %d: %s", code, body)
			}
			if got.File != c.file || !slices.Equal(got.Top, want.Top) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	t.Run("several", func(t *testing.T) {
		form := &bytes.Buffer{}
		writer := multipart.NewWriter(form)
		for _, c := range [][]byte{data, []byte("no picture"), vggtest.PNG(44, 90, vggtest.Noise(3))} {
			part, _ := writer.CreateFormFile("image", "x")
			part.Write(c)
		}
		writer.Close()
		code, body, _ := ask(t, "POST", h.URL+"/v1/classify", form.Bytes(), "Content-Type", writer.FormDataContentType())
		var got []classifyAnswer
		if err := json.Unmarshal(body, &got); code != 200 || err != nil || len(got) != 3 {
			t.Fatalf("code %d: %s", code, body)
		}
		if !slices.Equal(got[0].Top, want.Top) || !strings.Contains(got[1].Error, "text") || got[2].Top == nil {
			t.Errorf("got %s", body)
		}
	})
}

func TestClassifyRefusals(t *testing.T) {
	m := tiny.Random(16, 1)
	_, h := serve(t, Options{Limits: Limits{Body: 100_000, Pixels: 10_000, Images: 2}}, m)
	data := vggtest.PNG(60, 50, vggtest.Noise(2))
	bomb := &bytes.Buffer{}
	z := gzip.NewWriter(bomb)
	z.Write(make([]byte, 10<<20))
	z.Close()
	huge := vggtest.PNG(8, 8, vggtest.Noise(1))
	binary.BigEndian.PutUint32(huge[16:], 100_000) // width and height of the header
	binary.BigEndian.PutUint32(huge[20:], 100_000)
	binary.BigEndian.PutUint32(huge[29:], crc32.ChecksumIEEE(huge[12:29]))
	for name, c := range map[string]struct {
		method, path string
		body         []byte
		header       []string
		code         int
		text         string
	}{
		"text":               {"POST", "/v1/classify", []byte("hello"), nil, 400, "text"},
		"nothing":            {"POST", "/v1/classify", nil, nil, 400, "curl -T cat.jpg"},
		"truncated":          {"POST", "/v1/classify", data[:len(data)/2], nil, 400, "the picture"},
		"too many bytes":     {"POST", "/v1/classify", make([]byte, 100_001), nil, 413, "97.7 KiB"},
		"bomb":               {"POST", "/v1/classify", bomb.Bytes(), []string{"Content-Encoding", "gzip"}, 413, "after its compression"},
		"pixels":             {"POST", "/v1/classify", huge, nil, 413, "10000 pixels"},
		"encoding":           {"POST", "/v1/classify", data, []string{"Content-Encoding", "br"}, 415, "want gzip"},
		"no gzip":            {"POST", "/v1/classify", data, []string{"Content-Encoding", "gzip"}, 400, "gzip"},
		"model":              {"POST", "/v1/classify?model=../../etc", data, nil, 404, "no such model"},
		"top":                {"POST", "/v1/classify?top=0", data, nil, 400, "from 1 to"},
		"parameter":          {"POST", "/v1/classify?tpo=1", data, nil, 400, "unknown"},
		"twice":              {"POST", "/v1/classify?top=1&top=2", data, nil, 400, "once"},
		"scale":              {"POST", "/v1/classify?scale=8", data, nil, 409, "takes 32"},
		"address":            {"POST", "/v1/classify", []byte(`{"image":"http://169.254.169.254/"}`), []string{"Content-Type", "application/json"}, 400, "fetches nothing"},
		"pictures":           {"POST", "/v1/classify", []byte(`{"images":["","",""]}`), []string{"Content-Type", "application/json"}, 413, "the most is 2"},
		"a key twice":        {"POST", "/v1/classify", []byte(`{"image":"a","image":"b"}`), []string{"Content-Type", "application/json"}, 400, "twice"},
		"method":             {"DELETE", "/v1/classify", nil, nil, 405, "POST or PUT"},
		"no address":         {"GET", "/v3", nil, nil, 404, "no such address"},
		"host":               {"POST", "/v1/classify", data, []string{"Host", "evil.example"}, 403, "--host"},
		"origin":             {"POST", "/v1/classify", data, []string{"Origin", "https://evil.example"}, 403, "may not use"},
		"another site":       {"POST", "/v1/classify", data, []string{"Sec-Fetch-Site", "cross-site"}, 403, "another site"},
		"origin without one": {"POST", "/v1/classify", data, []string{"Origin", "null"}, 403, "may not use"},
	} {
		t.Run(name, func(t *testing.T) {
			code, body, _ := ask(t, c.method, h.URL+c.path, c.body, c.header...)
			refused(t, code, body, c.code, c.text)
		})
	}
}

// inferBody returns the JSON of a request for FP32 images.
func inferBody(x *tensor.Tensor, extra string) []byte {
	data, _ := json.Marshal(x.Data)
	shape, _ := json.Marshal(x.Shape)
	return fmt.Appendf(nil, `{"id":"7","inputs":[{"name":"input","datatype":"FP32","shape":%s,"data":%s}]%s}`, shape, data, extra)
}

func randomImages(n, h, w int, seed uint64) *tensor.Tensor {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := tensor.New(n, 3, h, w)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64() * 50)
	}
	return x
}

func TestInfer(t *testing.T) {
	m := tiny.Random(16, 1)
	_, h := serve(t, Options{}, m)
	x := randomImages(2, 32, 32, 3)
	y, err := m.Net.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	posteriors := slices.Clone(y.Data)
	for i := range 2 {
		m.Net.Options().Posterior().Of(posteriors[i*5:i*5+5], posteriors[i*5:i*5+5])
	}
	url := h.URL + "/v2/models/tiny/infer"
	t.Run("JSON", func(t *testing.T) {
		code, body, _ := ask(t, "POST", url, inferBody(x, ""))
		var got inferResponse
		if err := json.Unmarshal(body, &got); code != 200 || err != nil {
			t.Fatalf("code %d: %s", code, body)
		}
		if got.Model != "tiny" || got.ID != "7" || len(got.Outputs) != 3 {
			t.Errorf("got %s", body)
		}
		for i, want := range [][]float32{y.Data, posteriors, y.Data} {
			var values []float32
			if err := json.Unmarshal(got.Outputs[i].Data, &values); err != nil || !slices.Equal(values, want) {
				t.Errorf("output %s: %v, want %v", got.Outputs[i].Name, values, want)
			}
		}
		if !slices.Equal(got.Outputs[0].Shape, []int{2, 5}) || !slices.Equal(got.Outputs[2].Shape, []int{2, 5, 1, 1}) {
			t.Errorf("shapes %v, %v", got.Outputs[0].Shape, got.Outputs[2].Shape)
		}
	})
	t.Run("binary", func(t *testing.T) {
		text := fmt.Sprintf(`{"inputs":[{"name":"input","datatype":"FP32","shape":[2,3,32,32],"parameters":{"binary_data_size":%d}}],"outputs":[{"name":"posteriors","parameters":{"binary_data":true}}]}`, 4*len(x.Data))
		code, body, header := ask(t, "POST", url, appendFloats([]byte(text), x.Data), "Inference-Header-Content-Length", strconv.Itoa(len(text)))
		n, err := strconv.Atoi(header.Get("Inference-Header-Content-Length"))
		if code != 200 || err != nil {
			t.Fatalf("code %d: %s", code, body)
		}
		if !bytes.Equal(body[n:], appendFloats(nil, posteriors)) {
			t.Errorf("other bits than the library's: %x", body[n:])
		}
	})
	t.Run("pictures", func(t *testing.T) {
		data := vggtest.PNG(60, 50, vggtest.Noise(2))
		im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := m.Scores(im, m.Preprocess.Resize)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`{"inputs":[{"name":"input","datatype":"BYTES","shape":[1,1],"parameters":{"binary_data_size":%d}}],"outputs":[{"name":"scores","parameters":{"binary_data":true}}]}`, len(data)+4)
		code, body, header := ask(t, "POST", url, append([]byte(text), withLength(data)...), "Inference-Header-Content-Length", strconv.Itoa(len(text)))
		n, _ := strconv.Atoi(header.Get("Inference-Header-Content-Length"))
		if code != 200 || !bytes.Equal(body[n:], appendFloats(nil, want)) {
			t.Errorf("code %d: %s", code, body)
		}
		// The whole body is the input, and all outputs are binary.
		code, body, header = ask(t, "POST", url, data, "Inference-Header-Content-Length", "0")
		n, _ = strconv.Atoi(header.Get("Inference-Header-Content-Length"))
		if code != 200 || !bytes.HasPrefix(body[n:], appendFloats(nil, want)) {
			t.Errorf("code %d: %s", code, body)
		}
		asText := fmt.Sprintf(`{"inputs":[{"name":"input","datatype":"BYTES","shape":[1],"data":["%s"]}],"outputs":[{"name":"scores"}]}`, base64.StdEncoding.EncodeToString(data))
		code, body, _ = ask(t, "POST", url, []byte(asText))
		var got inferResponse
		var values []float32
		if json.Unmarshal(body, &got); code != 200 || json.Unmarshal(got.Outputs[0].Data, &values) != nil || !slices.Equal(values, want) {
			t.Errorf("code %d: %s", code, body)
		}
	})
	t.Run("classification", func(t *testing.T) {
		code, body, _ := ask(t, "POST", url, inferBody(x, `,"outputs":[{"name":"scores","parameters":{"classification":2}}]`))
		var got inferResponse
		if err := json.Unmarshal(body, &got); code != 200 || err != nil {
			t.Fatalf("code %d: %s", code, body)
		}
		var texts []string
		if err := json.Unmarshal(got.Outputs[0].Data, &texts); err != nil || len(texts) != 4 || !slices.Equal(got.Outputs[0].Shape, []int{2, 2}) {
			t.Fatalf("got %s", body)
		}
		best := m.Top(y.Data[:5], 1)[0]
		if want := fmt.Sprintf("%s:%d:%s", strconv.FormatFloat(float64(best.Probability), 'g', -1, 32), best.Index, best.Class); texts[0] != want {
			t.Errorf("got %q, want %q", texts[0], want)
		}
	})
	t.Run("larger", func(t *testing.T) {
		x := randomImages(1, 64, 96, 4)
		y, err := m.Net.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		code, body, _ := ask(t, "POST", url, inferBody(x, `,"outputs":[{"name":"map"},{"name":"scores"}]`))
		var got inferResponse
		if err := json.Unmarshal(body, &got); code != 200 || err != nil {
			t.Fatalf("code %d: %s", code, body)
		}
		var values, means []float32
		if json.Unmarshal(got.Outputs[0].Data, &values); !slices.Equal(values, y.Data) || !slices.Equal(got.Outputs[0].Shape, y.Shape) {
			t.Errorf("another map: %v, want %v", got.Outputs[0].Shape, y.Shape)
		}
		json.Unmarshal(got.Outputs[1].Data, &means)
		places := y.Shape[2] * y.Shape[3]
		for c := range 5 {
			var sum float64
			for _, v := range y.Data[c*places : (c+1)*places] {
				sum += float64(v)
			}
			if math.Abs(float64(means[c])-sum/float64(places)) > 1e-5 {
				t.Errorf("class %d: %v, want the map's mean %v", c, means[c], sum/float64(places))
			}
		}
	})
}

func TestInferRefusals(t *testing.T) {
	m := tiny.Random(16, 1)
	_, h := serve(t, Options{Limits: Limits{Images: 4, Pass: 64 << 20}}, m)
	good := inferBody(randomImages(1, 32, 32, 3), "")
	input := func(fields string) string { return `{"inputs":[{"name":"input",` + fields + `}]}` }
	binaryInput := input(`"datatype":"FP32","shape":[1,3,32,32],"parameters":{"binary_data_size":12288}`)
	for name, c := range map[string]struct {
		path, body, length string
		code               int
		text               string
	}{
		"empty":          {"", "", "", 400, "truncated"},
		"truncated":      {"", string(good[:len(good)/2]), "", 400, "truncated"},
		"two values":     {"", string(good) + "{}", "", 400, "more than one value"},
		"no input":       {"", `{}`, "", 400, "0 inputs"},
		"name":           {"", `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`, "", 400, `want "input"`},
		"type":           {"", input(`"datatype":"INT8","shape":[1],"data":[1]`), "", 400, "INT8"},
		"negative":       {"", input(`"datatype":"FP32","shape":[-1,3,32,32],"data":[1]`), "", 400, "from 1 on"},
		"overflow":       {"", input(`"datatype":"FP32","shape":[2,3,2000000000,2000000000],"data":[1]`), "", 400, "shape"},
		"channels":       {"", input(`"datatype":"FP32","shape":[1,4,32,32],"data":[1]`), "", 400, "[N,3,H,W]"},
		"too few":        {"", input(`"datatype":"FP32","shape":[1,3,32,32],"data":[1]`), "", 400, "3072"},
		"small":          {"", input(`"datatype":"FP32","shape":[1,3,1,1],"data":[1,2,3]`), "", 400, "1×1"},
		"huge number":    {"", input(`"datatype":"FP32","shape":[1,3,1,1],"data":[1e99,2,3]`), "", 400, "32 bits"},
		"huge exponent":  {"", input(`"datatype":"FP32","shape":[1,3,1,1],"data":[1e999999999,2,3]`), "", 400, "32 bits"},
		"objects":        {"", input(`"datatype":"FP32","shape":[1,3,1,1],"data":[{},2,3]`), "", 400, "object"},
		"key twice":      {"", input(`"datatype":"FP32","datatype":"BYTES","shape":[1],"data":[1]`), "", 400, "twice"},
		"images":         {"", input(`"datatype":"BYTES","shape":[5],"data":["","","","",""]`), "", 413, "the most is 4"},
		"missing length": {"", binaryInput, "", 400, "Inference-Header-Content-Length"},
		"long length":    {"", string(good), "99999999", 400, "at most"},
		"bad length":     {"", string(good), "-1", 400, "Inference-Header-Content-Length"},
		"cut binary":     {"", binaryInput, strconv.Itoa(len(binaryInput)), 400, "of which 0 came"},
		"no data":        {"", input(`"datatype":"FP32","shape":[1,3,32,32]`), "", 400, "neither"},
		"levels":         {"", strings.Repeat("[", 1000), "", 400, "levels"},
		"output":         {"", string(good[:len(good)-1]) + `,"outputs":[{"name":"x"}]}`, "", 400, `"posteriors"`},
		"version":        {"/versions/2", string(good), "", 404, "version 1"},
		"no picture":     {"", input(`"datatype":"BYTES","shape":[1],"data":["aGVsbG8="]`), "", 400, "text"},
	} {
		t.Run(name, func(t *testing.T) {
			var header []string
			if c.length != "" {
				header = []string{"Inference-Header-Content-Length", c.length}
			}
			code, body, _ := ask(t, "POST", h.URL+"/v2/models/tiny"+c.path+"/infer", []byte(c.body), header...)
			refused(t, code, body, c.code, c.text)
		})
	}
	t.Run("memory", func(t *testing.T) {
		x := tensor.New(1, 3, 1024, 1024)
		text := fmt.Sprintf(`{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3,1024,1024],"parameters":{"binary_data_size":%d}}]}`, 4*len(x.Data))
		code, body, _ := ask(t, "POST", h.URL+"/v2/models/tiny/infer", appendFloats([]byte(text), x.Data), "Inference-Header-Content-Length", strconv.Itoa(len(text)))
		refused(t, code, body, 413, "64.0 MiB")
	})
}

// TestBatchedBits sends images together and alone: the answers have the same bits.
func TestBatchedBits(t *testing.T) {
	m := tiny.Random(16, 1)
	const n = 24
	x := randomImages(n, 32, 32, 5)
	var want [][]float32
	for i := range n {
		one, _ := tensor.FromSlice(x.Index(i).Data, 1, 3, 32, 32)
		y, err := m.Net.Forward(one)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, y.Data)
	}
	s, _ := serve(t, Options{MaxDelay: 20 * time.Millisecond}, m)
	h, err := s.models.find("tiny")
	if err != nil {
		t.Fatal(err)
	}
	g, release, err := h.use()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for range 5 {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				one, _ := tensor.FromSlice(slices.Clone(x.Index(i).Data), 1, 3, 32, 32)
				place, err := g.batcher.enter(1)
				if err != nil {
					t.Error(err)
					return
				}
				defer place.leave()
				j, err := g.batcher.forward(t.Context(), place, one)
				if err != nil {
					t.Error(err)
					return
				}
				if !slices.Equal(j.y.Data, want[i]) {
					t.Errorf("image %d in a batch of %d has other bits", i, j.batch)
				}
			})
		}
		wg.Wait()
	}
	stats := h.stats.of("tiny", "1")
	if last := stats.Batches[len(stats.Batches)-1]; last.Size < 2 {
		t.Errorf("no pass had more than one image: %+v", stats.Batches)
	}
	if stats.Inferences != 5*n {
		t.Errorf("%d images counted, want %d", stats.Inferences, 5*n)
	}
}

// TestQueueBound fills the queue while a pass can't begin.
func TestQueueBound(t *testing.T) {
	m := tiny.Random(16, 1)
	s, h := serve(t, Options{Limits: Limits{Queue: 2}}, m)
	s.models.turn <- struct{}{} // another model runs
	data := vggtest.PNG(60, 50, vggtest.Noise(2))
	var wg sync.WaitGroup
	codes := make([]int, 6)
	for i := range codes {
		wg.Go(func() { codes[i], _, _ = ask(t, "POST", h.URL+"/v1/classify?scale="+strconv.Itoa(40+i), data) })
	}
	waitFor(t, func() bool { return counter(t, s, `vgg_refused_total{reason="queue"}`) >= 4 })
	code, body, header := ask(t, "POST", h.URL+"/v1/classify?scale=50", data)
	refused(t, code, body, 429, "the most is 2")
	if header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	<-s.models.turn
	wg.Wait()
	slices.Sort(codes)
	if !slices.Equal(codes, []int{200, 200, 429, 429, 429, 429}) {
		t.Errorf("codes %v", codes)
	}
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for range 1000 {
		if condition() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("waited for ten seconds")
}

// counter reads a value from the metrics.
func counter(t *testing.T, s *Server, line string) float64 {
	t.Helper()
	w := httptest.NewRecorder()
	s.metrics.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for l := range strings.Lines(w.Body.String()) {
		if rest, ok := strings.CutPrefix(l, line+" "); ok {
			v, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v
		}
	}
	return 0
}

// TestGone drops the work of clients that have gone.
func TestGone(t *testing.T) {
	m := tiny.Random(16, 1)
	s, h := serve(t, Options{}, m)
	s.models.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "POST", h.URL+"/v1/classify", bytes.NewReader(vggtest.PNG(60, 50, vggtest.Noise(2))))
	failed := make(chan error)
	go func() {
		_, err := http.DefaultClient.Do(r)
		failed <- err
	}()
	waitFor(t, func() bool { return counter(t, s, `vgg_queue_images{model="tiny"}`) == 1 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	waitFor(t, func() bool { return counter(t, s, `vgg_refused_total{reason="gone"}`) == 1 })
	<-s.models.turn
	waitFor(t, func() bool { return counter(t, s, `vgg_queue_images{model="tiny"}`) == 0 })
	hosted, _ := s.models.find("tiny")
	if n := hosted.stats.of("tiny", "1").Executions; n != 0 {
		t.Errorf("%d passes for nobody", n)
	}
}

func TestTimeOver(t *testing.T) {
	m := tiny.Random(16, 1)
	s, h := serve(t, Options{Limits: Limits{Time: 50 * time.Millisecond}}, m)
	s.models.turn <- struct{}{}
	code, body, _ := ask(t, "POST", h.URL+"/v1/classify", vggtest.PNG(60, 50, vggtest.Noise(2)))
	refused(t, code, body, 503, "longer than 50ms")
	<-s.models.turn
}

func TestKeys(t *testing.T) {
	keys, err := ParseKeys([]byte("# ours\n0123456789abcdef\n\nfedcba9876543210\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, h := serve(t, Options{Keys: func() []string { return keys }}, tiny.Random(16, 1))
	for name, c := range map[string]struct {
		header []string
		code   int
	}{
		"none":   {nil, 401},
		"wrong":  {[]string{"Authorization", "Bearer 0123456789abcdee"}, 403},
		"first":  {[]string{"Authorization", "Bearer 0123456789abcdef"}, 200},
		"second": {[]string{"X-Api-Key", "fedcba9876543210"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			code, body, _ := ask(t, "GET", h.URL+"/v2", nil, c.header...)
			if code != c.code {
				t.Errorf("code %d: %s, want %d", code, body, c.code)
			}
		})
	}
	if code, _, _ := ask(t, "GET", h.URL+"/v2/health/ready", nil); code != 200 {
		t.Errorf("health asks for a key: code %d", code)
	}
	if _, err := ParseKeys([]byte("short\n")); err == nil {
		t.Error("a short key is no error")
	}
}

// TestReload swaps weights under load, with a broken file among them.
func TestReload(t *testing.T) {
	models := []*vgg.Model{tiny.Random(16, 1), tiny.Random(16, 2)}
	data := vggtest.PNG(60, 50, vggtest.Noise(2))
	want := []vgg.Answer{classifyJSON(t, models[0], data), classifyJSON(t, models[1], data)}
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	opened := 0
	err = s.Add(t.Context(), Source{Name: "tiny", Open: func(context.Context) (*vgg.Model, error) {
		opened++
		if opened%10 == 3 {
			return nil, errors.New("broken")
		}
		m := *models[opened%2]
		m.Net = m.Net.Share(1)
		return &m, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	defer h.Close()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				code, body, _ := ask(t, "POST", h.URL+"/v1/classify", data)
				var got classifyAnswer
				if json.Unmarshal(body, &got); code != 200 || !slices.Equal(got.Top, want[0].Top) && !slices.Equal(got.Top, want[1].Top) {
					t.Errorf("code %d: %s", code, body)
				}
				if code, _, _ := ask(t, "GET", h.URL+"/v2/health/ready", nil); code != 200 {
					t.Errorf("not ready during a reload: code %d", code)
				}
			}
		})
	}
	failed := 0
	for range 100 {
		if err := s.Reload(t.Context(), "tiny"); err != nil {
			failed++
		}
	}
	close(stop)
	wg.Wait()
	if failed != 10 {
		t.Errorf("%d reloads failed, want 10", failed)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestProtocol(t *testing.T) {
	m := tiny.Random(16, 1)
	s, h := serve(t, Options{Version: "1.2.3"}, m)
	ask(t, "POST", h.URL+"/v1/classify", vggtest.PNG(60, 50, vggtest.Noise(2)))
	for path, want := range map[string]string{
		"GET /v2":                        `"version":"1.2.3"`,
		"GET /v2/health/live":            `{"live":true}`,
		"GET /v2/health/ready":           `{"live":true,"ready":true}`,
		"GET /v2/models/tiny":            `"inputs":[{"name":"input","datatype":"FP32","shape":[-1,3,-1,-1]}]`,
		"GET /v2/models/tiny/versions/1": `"outputs":[{"name":"scores","datatype":"FP32","shape":[-1,5]}`,
		"GET /v2/models/tiny/ready":      `{"name":"tiny","ready":true}`,
		"GET /v2/models/tiny/config":     `"dims":[3,32,32]`,
		"GET /v2/models/tiny/stats":      `"inference_count":1`,
		"GET /v2/models/stats":           `"batch_size":1`,
		"POST /v2/repository/index":      `[{"name":"tiny","version":"1","state":"READY","reason":""}]`,
	} {
		method, address, _ := strings.Cut(path, " ")
		code, body, _ := ask(t, method, h.URL+address, nil)
		if code != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: code %d: %s, want %s", path, code, body, want)
		}
	}
	code, body, _ := ask(t, "POST", h.URL+"/v2/repository/models/tiny/unload", nil)
	refused(t, code, body, 403, "--allow-load")

	_, metricsText, _ := ask(t, "GET", h.URL+"/metrics", nil)
	problems, err := promlint.New(bytes.NewReader(metricsText)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
	if n := counter(t, s, `vgg_requests_total{code="200",endpoint="/v1/classify",model="tiny"}`); n != 1 {
		t.Errorf("%v requests counted, want 1", n)
	}
	s.Drain()
	code, body, _ = ask(t, "POST", h.URL+"/v1/classify", nil)
	refused(t, code, body, 503, "stopping")
	if code, _, _ := ask(t, "GET", h.URL+"/v2/health/ready", nil); code != 503 {
		t.Errorf("ready while it drains: code %d", code)
	}
	if code, _, _ := ask(t, "GET", h.URL+"/v2/health/live", nil); code != 200 {
		t.Errorf("not alive while it drains: code %d", code)
	}
}

func TestLoadAndUnload(t *testing.T) {
	_, h := serve(t, Options{AllowLoad: true}, tiny.Random(16, 1))
	data := vggtest.PNG(60, 50, vggtest.Noise(2))
	if code, body, _ := ask(t, "POST", h.URL+"/v2/repository/models/tiny/unload", nil); code != 200 {
		t.Fatalf("code %d: %s", code, body)
	}
	code, body, _ := ask(t, "POST", h.URL+"/v1/classify", data)
	refused(t, code, body, 503, "not loaded")
	_, body, _ = ask(t, "POST", h.URL+"/v2/repository/index", nil)
	if !strings.Contains(string(body), "UNAVAILABLE") {
		t.Errorf("got %s", body)
	}
	for _, brought := range []string{`{"parameters":{"config":"{}"}}`, `{"parameters":{"file:1/model.onnx":"AAAA"}}`} {
		code, body, _ := ask(t, "POST", h.URL+"/v2/repository/models/tiny/load", []byte(brought))
		refused(t, code, body, 400, "parameter")
	}
	if code, body, _ := ask(t, "POST", h.URL+"/v2/repository/models/tiny/load", nil); code != 200 {
		t.Fatalf("code %d: %s", code, body)
	}
	if code, body, _ := ask(t, "POST", h.URL+"/v1/classify", data); code != 200 {
		t.Errorf("code %d: %s", code, body)
	}
}

// TestAnswers keeps answers within its bound.
func TestAnswers(t *testing.T) {
	a := newAnswers(3 * (4*5 + 200))
	for i := range 10 {
		a.put(keyOf(1, "q", []byte{byte(i)}), make([]float32, 5))
		a.get(keyOf(1, "q", []byte{0})) // always used
	}
	if a.order.Len() != 3 || len(a.byKey) != 3 || a.bytes > a.most {
		t.Errorf("%d answers of %d bytes kept", a.order.Len(), a.bytes)
	}
	if a.get(keyOf(1, "q", []byte{0})) == nil || a.get(keyOf(1, "q", []byte{9})) == nil {
		t.Error("the latest answers are forgotten")
	}
	if a.get(keyOf(2, "q", []byte{9})) != nil || a.get(keyOf(1, "p", []byte{9})) != nil {
		t.Error("an answer of other weights or another question")
	}
}

// FuzzInfer decodes requests.
func FuzzInfer(f *testing.F) {
	f.Add(inferBody(tensor.New(1, 3, 2, 2), ""), "")
	text := `{"inputs":[{"name":"input","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}],"outputs":[{"name":"scores","parameters":{"classification":3,"binary_data":true}}]}`
	f.Add([]byte(text+"\x02\x00\x00\x00ab"), strconv.Itoa(len(text)))
	f.Add([]byte("\xff\xd8"), "0")
	m := tiny.Random(16, 1)
	f.Fuzz(func(t *testing.T, body []byte, length string) {
		q, err := decodeInfer(body, length)
		if err == nil {
			_, err = wanted(m, q)
		}
		var in *images
		if err == nil {
			in, err = imagesOf(q, DefaultLimits())
		}
		if err != nil {
			if _, ok := errors.AsType[*failure](err); !ok {
				t.Fatalf("an error that isn't the caller's: %v", err)
			}
			return
		}
		n := len(in.pictures)
		if in.x != nil {
			n = in.x.Shape[0]
		}
		if n != q.Inputs[0].shape[0] {
			t.Fatalf("%d images, want %d", n, q.Inputs[0].shape[0])
		}
	})
}

// TestOpenAPI: the file describes every address, and no other, with the parameters in it.
func TestOpenAPI(t *testing.T) {
	s, h := serve(t, Options{}, tiny.Random(16, 1))
	code, body, _ := ask(t, "GET", h.URL+"/openapi.json", nil)
	var file struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Parameters  []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(body, &file); code != 200 || err != nil || file.OpenAPI != "3.1.0" {
		t.Fatalf("code %d, %v, %s", code, err, file.OpenAPI)
	}
	described, ids := map[string]bool{}, map[string]bool{}
	for path, methods := range file.Paths {
		for method, o := range methods {
			described[strings.ToUpper(method)+" "+path] = true
			if ids[o.OperationID] {
				t.Errorf("operation %s stands twice", o.OperationID)
			}
			ids[o.OperationID] = true
			for _, p := range o.Parameters {
				if p.In == "path" != strings.Contains(path, "{"+p.Name+"}") {
					t.Errorf("%s: parameter %s in %s", path, p.Name, p.In)
				}
			}
		}
	}
	for pattern := range s.routes() {
		if !described[pattern] {
			t.Errorf("%s isn't described", pattern)
		}
		delete(described, pattern)
	}
	for pattern := range described {
		t.Errorf("%s is described, and there is no such address", pattern)
	}
}
