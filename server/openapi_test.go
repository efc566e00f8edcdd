package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	pathpkg "path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// schema is a schema of openapi.json, with the words that it uses.
type schema struct {
	Ref                  string          `json:"$ref"`
	Type                 json.RawMessage // a word, or a list of them
	Enum                 []any
	Pattern              string
	Minimum, Maximum     *float64
	MinItems, MaxItems   *int
	MaxProperties        *int
	Required             []string
	Properties           map[string]*schema
	AdditionalProperties *schema
	Items                *schema
	OneOf, AllOf         []*schema
	Default              any
}

// operation is what openapi.json says of an address and a method.
type operation struct {
	Parameters []struct {
		Name, In string
		Schema   schema
	}
	Responses map[string]*response
}

type response struct {
	Ref     string `json:"$ref"`
	Headers map[string]any
	Content map[string]struct{ Schema *schema }
}

// contract is openapi.json, and which of its answers have been seen.
type contract struct {
	Paths      map[string]map[string]*operation
	Components struct {
		Schemas   map[string]*schema
		Responses map[string]*response
	}

	mu   sync.Mutex
	seen map[string]bool // "GET /v2 200"
}

func newContract(t *testing.T) *contract {
	t.Helper()
	c := &contract{seen: map[string]bool{}}
	if err := json.Unmarshal(openAPI, c); err != nil {
		t.Fatal(err)
	}
	return c
}

// response returns an answer of an operation.
func (c *contract) response(o *operation, code int) *response {
	r := o.Responses[fmt.Sprint(code)]
	if r != nil && r.Ref != "" {
		return c.Components.Responses[r.Ref[strings.LastIndexByte(r.Ref, '/')+1:]]
	}
	return r
}

// watch checks the answers of a handler: that openapi.json has their code and their media type,
// and that JSON has what the schema says, and nothing that it doesn't say.
func (c *contract) watch(t *testing.T, s *Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := s.mux.Handler(r)
		method, path, _ := strings.Cut(pattern, " ")
		o := c.Paths[path][strings.ToLower(method)]
		cleaned := pathpkg.Clean(r.URL.Path) != r.URL.Path // the mux redirects it
		if o == nil || r.Method == http.MethodHead || cleaned {
			s.ServeHTTP(w, r)
			return
		}
		out := &keptAnswer{recorder: recorder{ResponseWriter: w}}
		s.ServeHTTP(out, r)
		if err := c.check(o, out.code, out.Header(), out.body.Bytes()); err != nil {
			t.Errorf("%s %s: %v: %.500s", method, r.URL, err, out.body.Bytes())
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen[fmt.Sprintf("%s %s %d", method, path, out.code)] = true
	})
}

func (c *contract) check(o *operation, code int, h http.Header, body []byte) error {
	r := c.response(o, code)
	if r == nil {
		if code == statusGone {
			return nil // nobody hears it
		}
		return fmt.Errorf("code %d isn't described", code)
	}
	for name := range r.Headers {
		if h.Get(name) == "" {
			return fmt.Errorf("code %d without the header %s", code, name)
		}
	}
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	content, ok := r.Content[kind]
	if err != nil || !ok {
		return fmt.Errorf("code %d with Content-Type %q, want one of %q", code, h.Get("Content-Type"), slices.Sorted(maps.Keys(r.Content)))
	}
	if kind != "application/json" {
		return nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	if err := c.valid(content.Schema, v); err != nil {
		return fmt.Errorf("code %d: %w", code, err)
	}
	return nil
}

func (c *contract) resolve(s *schema) *schema {
	if s.Ref != "" {
		return c.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	return s
}

// valid reports what of a value a schema doesn't say.
func (c *contract) valid(s *schema, v any) error {
	if s = c.resolve(s); s == nil {
		return fmt.Errorf("a schema that there is not")
	}
	if len(s.OneOf) > 0 {
		fit, errs := 0, []string{}
		for _, one := range s.OneOf {
			if err := c.valid(one, v); err != nil {
				errs = append(errs, err.Error())
			} else {
				fit++
			}
		}
		if fit != 1 {
			return fmt.Errorf("%d of %d schemas fit, want one: %s", fit, len(s.OneOf), strings.Join(errs, "; "))
		}
		return nil
	}
	if types := s.types(); types != nil && !slices.ContainsFunc(types, func(t string) bool { return isOf(v, t) }) {
		return fmt.Errorf("%v, want %q", v, types)
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) {
		return fmt.Errorf("%v, want one of %v", v, s.Enum)
	}
	switch v := v.(type) {
	case map[string]any:
		properties, required := map[string]*schema{}, []string{}
		c.properties(s, properties, &required)
		for _, name := range required {
			if _, ok := v[name]; !ok {
				return fmt.Errorf("no %q", name)
			}
		}
		if s.MaxProperties != nil && len(v) > *s.MaxProperties {
			return fmt.Errorf("%d properties, want at most %d", len(v), *s.MaxProperties)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			property := properties[name]
			if property == nil {
				property = s.AdditionalProperties
			}
			if property == nil {
				if len(properties) == 0 {
					continue // any object
				}
				return fmt.Errorf("%q isn't described", name)
			}
			if err := c.valid(property, v[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	case []any:
		if s.MinItems != nil && len(v) < *s.MinItems || s.MaxItems != nil && len(v) > *s.MaxItems {
			return fmt.Errorf("%d items", len(v))
		}
		for i, item := range v {
			if s.Items == nil {
				break
			}
			if err := c.valid(s.Items, item); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
	case float64:
		if s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			return fmt.Errorf("%v is out of range", v)
		}
	case string:
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			return fmt.Errorf("%q, want %s", v, s.Pattern)
		}
	}
	return nil
}

// properties gathers those of a schema and of all that it is made of.
func (c *contract) properties(s *schema, all map[string]*schema, required *[]string) {
	s = c.resolve(s)
	maps.Copy(all, s.Properties)
	*required = append(*required, s.Required...)
	for _, part := range s.AllOf {
		c.properties(part, all, required)
	}
}

// types lists the types that a schema allows, nil for all.
func (s *schema) types() []string {
	var one string
	if json.Unmarshal(s.Type, &one) == nil {
		return []string{one}
	}
	var several []string
	_ = json.Unmarshal(s.Type, &several)
	return several
}

func isOf(v any, kind string) bool {
	switch v := v.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case float64:
		return kind == "number" || kind == "integer" && v == float64(int64(v))
	case []any:
		return kind == "array"
	}
	return kind == "object"
}

// keptAnswer is an answer that goes to the client and is kept.
type keptAnswer struct {
	recorder
	body bytes.Buffer
}

func (k *keptAnswer) Write(p []byte) (int, error) {
	k.body.Write(p)
	return k.recorder.Write(p)
}

// contractKey is the key of the service in TestContract.
const contractKey = "0123456789abcdef"

// contractService is a service that has all that openapi.json describes, with small bounds.
func contractService(t *testing.T, c *contract) (*Server, *client) {
	t.Helper()
	folder := t.TempDir()
	newRunDir(t, folder, "flowers").log(begun)
	s, h := serve(t, Options{
		AllowLoad: true, AllowTeach: true, Runs: folder, Keys: func() []string { return []string{contractKey} },
		Samples: Samples{Credit: "nobody", Pictures: []SamplePicture{{"red", vggtest.PNG(8, 8, vggtest.Plain(vggtest.Red))}}},
		Limits:  Limits{Body: 64 << 10, TeachBody: 100 << 10},
	}, tiny.Random(16, 1))
	withIndex(t, s)
	withBoxes(t, s)
	h.Config.Handler = c.watch(t, s)
	return s, &client{t, h.URL}
}

// client asks a service with its key.
type client struct {
	t   *testing.T
	url string
}

func (c *client) ask(method, address string, body []byte, header ...string) (int, []byte, http.Header) {
	c.t.Helper()
	return ask(c.t, method, c.url+address, body, append([]string{"X-Api-Key", contractKey}, header...)...)
}

// sample is a request that is right for an operation.
func sample(t *testing.T, path, method string) (address string, body []byte, header []string) {
	t.Helper()
	address = strings.NewReplacer("{model}", "tiny", "{version}", "1", "{file}", "x.png", "{index}", "0", "{name}", "flowers", "{number}", "0").Replace(path)
	switch {
	case path == "/v1/teach":
		form, kind := lessonForm(t, lesson{"warm", reds(6)}, lesson{"cold", blues(6)})
		return address, form, []string{"Content-Type", kind}
	case path == "/v1/teach/{model}":
		return "/v1/teach/taught", nil, nil
	case strings.HasSuffix(path, "/infer"):
		return address, []byte(`{"inputs":[{"name":"input","datatype":"BYTES","shape":[1],"data":["` + base64.StdEncoding.EncodeToString(reds(1)[0]) + `"]}]}`), nil
	case strings.HasPrefix(path, "/v1") && method != "GET":
		return address, reds(1)[0], nil
	}
	return address, nil, nil
}

// TestContract: each operation of openapi.json gives each of its answers, and takes each of its
// parameters from the least to the greatest value, and no other.
func TestContract(t *testing.T) {
	c := newContract(t)
	s, full := contractService(t, c)
	without, h := serve(t, Options{}, tiny.Random(16, 1))
	h.Config.Handler = c.watch(t, without)
	bare := &client{t, h.URL}
	address, form, kind := sample(t, "/v1/teach", "POST")
	full.ask("POST", address, form, kind...)

	for _, path := range slices.Sorted(maps.Keys(c.Paths)) {
		for _, m := range slices.Sorted(maps.Keys(c.Paths[path])) {
			o, method := c.Paths[path][m], strings.ToUpper(m)
			t.Run(method+" "+path, func(t *testing.T) {
				full, bare := &client{t, full.url}, &client{t, bare.url}
				address, body, header := sample(t, path, method)
				expect := func(want int, by *client, address string, body []byte, header ...string) {
					t.Helper()
					if code, got, _ := by.ask(method, address, body, header...); code != want {
						t.Errorf("%s: code %d, want %d: %.300s", address, code, want, got)
					}
				}
				expect(200, full, address, body, header...)
				for kind := range o.Responses["200"].Content {
					if path == "/v1/samples/{number}" || strings.HasSuffix(path, "/infer") {
						break // it depends on the picture, or the request's body
					}
					if _, _, h := full.ask(method, address, body, append(header, "Accept", kind)...); h.Get("Content-Type") != kind {
						t.Errorf("asked for %s, got %s", kind, h.Get("Content-Type"))
					}
				}
				for name := range o.Responses {
					switch name {
					case "400":
						switch {
						case strings.HasPrefix(path, "/v2"):
							expect(400, full, address, []byte("{"))
						default:
							expect(400, full, address+"?not-a-parameter=1", body, header...)
						}
					case "401":
						if code, _, _ := ask(t, method, full.url+address, body, header...); code != 401 {
							t.Errorf("code %d without a key", code)
						}
					case "403":
						expect(403, full, address, body, append(header, "Host", "elsewhere.example")...)
					case "404":
						expect(404, full, missing(path, address), body, header...)
					case "409":
						expect(409, full, conflicting(path, address), body, header...)
					case "413":
						switch path {
						case "/v1/index/{index}/picture":
							s.options.Limits.Pixels = 10
							expect(413, full, address, nil)
							s.options.Limits.Pixels = DefaultLimits().Pixels
						case "/v1/index/duplicates": // of millions of pictures
						default:
							expect(413, full, address, make([]byte, 100<<10+1), header...)
						}
					case "415":
						expect(415, full, address, body, append(header, "Content-Encoding", "br")...)
					case "429":
						most := int64(s.options.Limits.Requests)
						s.open.Add(most)
						expect(429, full, address, body, header...)
						s.open.Add(-most)
					case "501":
						expect(501, bare, address, body, header...)
					case "503":
						off := &s.draining
						if path == "/v2/health/live" {
							off = &s.lost
						}
						off.Store(true)
						expect(503, full, address, body, header...)
						off.Store(false)
					}
				}
				if strings.HasSuffix(path, "/unload") {
					full.ask("POST", strings.TrimSuffix(address, "unload")+"load", nil)
				}
				if path != "/v1/teach" {
					parameters(t, full, o, method, address, body, header)
				}
			})
		}
	}
	// Those that take an error of the service's own, a slow client or an enormous index.
	seen := 0
	for path, methods := range c.Paths {
		for m, o := range methods {
			for code := range o.Responses {
				what := fmt.Sprintf("%s %s %s", strings.ToUpper(m), path, code)
				if seen++; !c.seen[what] && code != "500" && code != "408" && what != "GET /v1/index/duplicates 413" {
					t.Errorf("%s was never seen", what)
				}
			}
		}
	}
	if seen < 300 {
		t.Errorf("%d answers are described", seen)
	}
}

// missing returns an address of something that there is not.
func missing(path, address string) string {
	for _, part := range [][2]string{{"{version}", "versions/1"}, {"{model}", "tiny"}, {"{model}", "taught"}, {"{name}", "flowers"}, {"{index}", "index/0"}, {"{number}", "samples/0"}} {
		if strings.Contains(path, part[0]) && strings.Contains(address, part[1]) {
			return strings.Replace(address, part[1], strings.TrimSuffix(part[1], "0")+"99", 1)
		}
	}
	return address + "?model=none"
}

// conflicting returns an address with a parameter that is right, and that the model can't take.
func conflicting(path, address string) string {
	switch {
	case path == "/v1/teach":
		return address + "?name=tiny"
	case strings.HasPrefix(path, "/v1/explain"), strings.HasPrefix(path, "/v1/features"), strings.HasPrefix(path, "/v1/localize"):
		return address + "?scales=1"
	}
	return address + "?scale=1"
}

// parameters checks that an operation takes what the schemas of its parameters allow, and
// nothing else, and that the defaults are those.
func parameters(t *testing.T, c *client, o *operation, method, address string, body []byte, header []string) {
	t.Helper()
	_, usual, _ := c.ask(method, address, body, header...)
	for _, p := range o.Parameters {
		if p.In != "query" || p.Name == "model" {
			continue
		}
		with := func(values ...string) (int, []byte) {
			t.Helper()
			code, got, _ := c.ask(method, address+"?"+url.Values{p.Name: values}.Encode(), body, header...)
			return code, got
		}
		takes := func(value string) {
			t.Helper()
			if code, got := with(value); code != 200 && code != 409 {
				t.Errorf("%s=%s: code %d: %s", p.Name, value, code, got)
			}
		}
		refuses := func(value string) {
			t.Helper()
			if code, got := with(value); code != 400 {
				t.Errorf("%s=%s: code %d, want 400: %.200s", p.Name, value, code, got)
			}
		}
		if p.Name == "class" { // a list: twice one that there is
			if code, got := with("a", "b"); code != 200 {
				t.Errorf("two classes: code %d: %s", code, got)
			}
			refuses("none-of-these")
		}
		for _, v := range p.Schema.Enum {
			takes(fmt.Sprint(v))
		}
		if p.Schema.Enum != nil || p.Schema.Pattern != "" {
			refuses("none-of-these")
		}
		if types := p.Schema.types(); types[0] == "boolean" {
			takes("true")
			takes("false")
			refuses("maybe")
		} else if types[0] == "integer" {
			refuses("1.5")
		}
		if least := p.Schema.Minimum; least != nil {
			takes(fmt.Sprint(*least))
			refuses(fmt.Sprint(*least - 1))
		}
		if most := p.Schema.Maximum; most != nil {
			refuses(strconv.FormatFloat(*most+1, 'f', -1, 64))
		}
		if p.Schema.Default != nil {
			if code, got := with(fmt.Sprint(p.Schema.Default)); code != 200 || !bytes.Equal(got, usual) {
				t.Errorf("%s=%v, the default: code %d, %.200s; without it %.200s", p.Name, p.Schema.Default, code, got, usual)
			}
		}
	}
}
