package server

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

// body reads the body of a request, decompressed, within the limits. release gives its
// memory back to the other requests.
func (s *Server) body(r *http.Request) (data []byte, release func(), err error) {
	return s.bodyUpTo(r, s.options.Limits.Body)
}

// bodyUpTo is body with a limit of its own.
func (s *Server) bodyUpTo(r *http.Request, limit int64) (data []byte, release func(), err error) {
	if r.ContentLength > limit {
		return nil, nil, refuse(http.StatusRequestEntityTooLarge, "body", "a body of %s, the most is %s", report.Bytes(r.ContentLength), report.Bytes(limit))
	}
	var reader io.Reader = &countedReader{r: r.Body, left: limit, limit: limit, what: "body"}
	header, err := oneHeader(r, "Content-Encoding")
	if err != nil {
		return nil, nil, err
	}
	switch encoding := strings.ToLower(header); encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(reader)
		if err != nil {
			return nil, nil, asBody(r, fmt.Errorf("gzip: %w", err))
		}
		reader = &countedReader{r: z, left: limit, limit: limit, what: "body after its compression"}
	case "deflate":
		z, err := zlib.NewReader(reader)
		if err != nil {
			return nil, nil, asBody(r, fmt.Errorf("deflate: %w", err))
		}
		reader = &countedReader{r: z, left: limit, limit: limit, what: "body after its compression"}
	default:
		return nil, nil, &failure{code: http.StatusUnsupportedMediaType, err: fmt.Errorf("Content-Encoding %q, want gzip, deflate or none", abbreviated(encoding))}
	}
	return s.keep(r, reader)
}

// oneHeader returns a header that says how a body is read, which may stand once.
func oneHeader(r *http.Request, name string) (string, error) {
	values := r.Header.Values(name)
	if len(values) > 1 {
		return "", badRequest("the header %s stands %d times, want once", name, len(values))
	}
	return r.Header.Get(name), nil
}

// keep reads all of reader into memory that it counts among that of all bodies.
func (s *Server) keep(r *http.Request, reader io.Reader) (data []byte, release func(), err error) {
	var counted int64
	release = func() { s.bodies.Add(-counted) }
	buffer := make([]byte, 0, 4<<10)
	for {
		if len(buffer) == cap(buffer) {
			grown := make([]byte, len(buffer), 2*cap(buffer))
			copy(grown, buffer)
			buffer = grown
		}
		if more := int64(cap(buffer)) - counted; more > 0 {
			counted += more
			if s.bodies.Add(more) > s.options.Limits.Bodies {
				release()
				return nil, nil, s.fullOfBodies()
			}
		}
		n, err := reader.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if errors.Is(err, io.EOF) {
			return buffer, release, nil
		}
		if err == nil {
			err = context.Cause(r.Context())
		}
		if err != nil {
			release()
			return nil, nil, asBody(r, err)
		}
	}
}

// hold counts n bytes that are made of a body among those of all bodies, until release.
func (s *Server) hold(n int64) (release func(), err error) {
	if s.bodies.Add(n) > s.options.Limits.Bodies {
		s.bodies.Add(-n)
		return nil, s.fullOfBodies()
	}
	return func() { s.bodies.Add(-n) }, nil
}

// fullOfBodies is the failure where bodies take as much memory as they may.
func (s *Server) fullOfBodies() error {
	return refuse(http.StatusTooManyRequests, "bodies", "the bodies of all requests have more than %s: ask again later", report.Bytes(s.options.Limits.Bodies))
}

// asBody returns the error of reading a body as the caller's.
func asBody(r *http.Request, err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if r.Context().Err() != nil {
		return context.Cause(r.Context())
	}
	return badRequest("the body can't be read: %w", err)
}

// countedReader refuses more than left bytes.
type countedReader struct {
	r           io.Reader
	left, limit int64
	what        string
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, refuse(http.StatusRequestEntityTooLarge, "body", "the %s has more than %s", c.what, report.Bytes(c.limit))
	}
	return n, err
}

// picture is an image file of a request.
type picture struct {
	name string // as the client calls it
	data []byte
}

// pictures returns the image files of a request: its body itself, the files of a form, or
// the data-URLs of a JSON object {"image": "data:…"} or {"images": […]}.
func (s *Server) pictures(r *http.Request) (list []picture, release func(), err error) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = "" // curl -T sends none; the bytes tell
	}
	data, release, err := s.body(r)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	if n := copiesOf(kind, len(data)); n > 0 {
		copies, err := s.hold(n)
		if err != nil {
			return nil, release, err
		}
		body := release
		release = func() { copies(); body() }
	}
	switch {
	case kind == formKind:
		list, err = formPictures(data, parameters["boundary"], s.options.Limits.Images)
	case kind == jsonKind:
		list, err = jsonPictures(data, s.options.Limits.Images)
	case kind == "application/x-www-form-urlencoded" && !preprocess.IsImage(data):
		err = badRequest("the body is a form of text: send the picture itself (curl -T cat.jpg, or --data-binary @cat.jpg) or a file of a form (curl -F image=@cat.jpg)")
	case len(data) == 0:
		err = badRequest("no picture: send it as the body, as curl -T cat.jpg does")
	default:
		list = []picture{{name: r.PathValue("file"), data: data}}
	}
	if err == nil && len(list) == 0 {
		err = badRequest("no picture in the request")
	}
	return list, release, err
}

// The types of bodies that pictures are copied out of.
const (
	formKind = "multipart/form-data"
	jsonKind = "application/json"
)

// copiesOf is the memory of the pictures of a body of n bytes beside the body: nothing if it is
// the picture.
func copiesOf(kind string, n int) int64 {
	switch kind {
	case formKind:
		return int64(n)
	case jsonKind: // texts, and what they mean
		return 2 * int64(n)
	}
	return 0
}

// files reads the parts of a form, which with their boundaries are longer than their contents:
// these share memory as long as the form.
type files struct {
	form *multipart.Reader
	room []byte
}

func newFiles(form []byte, boundary string) *files {
	return &files{multipart.NewReader(bytes.NewReader(form), boundary), make([]byte, 0, len(form))}
}

// next returns the next part, or [io.EOF].
func (f *files) next() (*multipart.Part, error) {
	part, err := f.form.NextRawPart()
	if err != nil && !errors.Is(err, io.EOF) {
		err = badRequest("the form can't be read: %w", err)
	}
	return part, err
}

// read returns the content of a part.
func (f *files) read(part *multipart.Part) ([]byte, error) {
	start := len(f.room)
	for {
		n, err := part.Read(f.room[len(f.room):cap(f.room)])
		f.room = f.room[:len(f.room)+n]
		if errors.Is(err, io.EOF) {
			return f.room[start:len(f.room):len(f.room)], nil
		}
		if err != nil {
			return nil, badRequest("the form can't be read: %w", err)
		}
	}
}

// formPictures returns the files of a form.
func formPictures(data []byte, boundary string, most int) ([]picture, error) {
	if boundary == "" {
		return nil, badRequest("a form without a boundary in its Content-Type")
	}
	var list []picture
	form := newFiles(data, boundary)
	for {
		part, err := form.next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		if part.FileName() == "" && part.FormName() != "image" {
			continue // a field of text
		}
		if len(list) == most {
			return nil, refuse(http.StatusRequestEntityTooLarge, "images", "more than %d pictures in a request", most)
		}
		content, err := form.read(part)
		if err != nil {
			return nil, err
		}
		list = append(list, picture{part.FileName(), content})
	}
}

// jsonPictures returns the pictures of a JSON object.
func jsonPictures(data []byte, most int) ([]picture, error) {
	var body struct {
		Image  string   `json:"image"`
		Images []string `json:"images"`
	}
	if err := decodeJSON(data, &body); err != nil {
		return nil, err
	}
	urls := body.Images
	if body.Image != "" {
		urls = append([]string{body.Image}, urls...)
	}
	if len(urls) > most {
		return nil, refuse(http.StatusRequestEntityTooLarge, "images", "%d pictures in a request, the most is %d", len(urls), most)
	}
	var list []picture
	for i, u := range urls {
		content, err := fromDataURL(u)
		if err != nil {
			return nil, badRequest("image %d: %w", i, err)
		}
		list = append(list, picture{"", content})
	}
	return list, nil
}

// fromDataURL returns the bytes of a data-URL in base64, or of base64 alone.
func fromDataURL(u string) ([]byte, error) {
	text := u
	if rest, ok := strings.CutPrefix(u, "data:"); ok {
		kind, encoded, found := strings.Cut(rest, ",")
		if !found || !strings.HasSuffix(kind, ";base64") {
			return nil, errors.New("a data-URL that isn't in base64, want data:image/jpeg;base64,…")
		}
		text = encoded
	} else if strings.Contains(u[:min(len(u), 16)], "://") {
		return nil, errors.New("an address: the service fetches nothing, send the picture itself")
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("base64: %w", err)
	}
	return data, nil
}

// see decodes a picture and writes what the network of a generation sees of it at scale q.
func (s *Server) see(ctx context.Context, g *generation, dst []float32, data []byte, q int) error {
	im, release, err := s.decode(ctx, g.model.Preprocess.Orient, data)
	if err != nil {
		return err
	}
	defer release()
	if err := g.model.CentralCrop(dst, im, q); err != nil {
		return badRequest("the picture: %w", err)
	}
	return nil
}

// decode decodes a picture within the limits. release gives its memory back.
func (s *Server) decode(ctx context.Context, orient preprocess.Orient, data []byte) (im *preprocess.Image, release func(), err error) {
	h, err := preprocess.ReadHeader(data)
	if err != nil {
		return nil, nil, badRequest("the picture: %w", err)
	}
	if int64(h.W)*int64(h.H) > int64(s.options.Limits.Pixels) {
		return nil, nil, refuse(http.StatusRequestEntityTooLarge, "pixels", "a picture of %d×%d pixels, the most is %d pixels", h.W, h.H, s.options.Limits.Pixels)
	}
	release, err = s.decoding.Pixels(ctx, h.DecodeBytes)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		return nil, nil, refuse(http.StatusRequestEntityTooLarge, "decoding", "the picture: %w", err)
	}
	select {
	case s.decoders <- struct{}{}:
	case <-ctx.Done():
		release()
		return nil, nil, context.Cause(ctx)
	}
	im, err = preprocess.DecodeContext(ctx, data, preprocess.DecodeOptions{Orient: orient, MaxPixels: s.options.Limits.Pixels})
	<-s.decoders
	if err != nil {
		release()
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		return nil, nil, badRequest("the picture: %w", err)
	}
	return im, release, nil
}
