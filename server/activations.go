package server

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"math"
	"net/http"
	"net/url"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// layer is a layer in an answer.
type layer struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`   // as the paper writes it: conv3-64, maxpool, FC-4096
	Output [3]int   `json:"output"` // channels, height, width, of a crop
	Field  nn.Field `json:"field"`
}

// layers lists the layers of a network, with their receptive fields.
func (s *Server) layers(w http.ResponseWriter, r *http.Request) error {
	query, err := queryOf(r, "model")
	if err != nil {
		return err
	}
	_, g, release, err := s.find(r, query.Get("model"), "")
	if err != nil {
		return err
	}
	defer release()
	list, err := layersOf(g.model)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"layers": list})
	return nil
}

// layersOf lists the layers that have activations of their own.
func layersOf(m *vgg.Model) ([]layer, error) {
	summary, err := network.Summarise(m.Net.Options())
	if err != nil {
		return nil, err
	}
	fields := map[string]nn.Field{}
	for i, f := range m.Net.Chain().Fields() {
		switch l := m.Net.Chain().Layers()[i].(type) {
		case *nn.Dropout, *nn.BatchNorm, *nn.Activation, *nn.Binary: // of the layer before
		default:
			fields[l.Name()] = f
		}
	}
	list := []layer{}
	for _, l := range summary.Layers {
		if f, ok := fields[l.Name]; ok {
			list = append(list, layer{l.Name, l.Type, l.Output, f})
		}
	}
	return list, nil
}

// crop is the part of a picture that a network sees: x, y, width and height in pixels of the
// picture. It reaches beyond a picture that is smaller than the crop after rescaling.
type crop struct {
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
}

// cropOf returns the part of a picture of w × h pixels that a window shows.
func cropOf(w, h int, c preprocess.Window) crop {
	sx, sy := float64(w)/float64(c.W), float64(h)/float64(c.H)
	return crop{float64(c.X) * sx, float64(c.Y) * sy, float64(c.Side) * sx, float64(c.Side) * sy}
}

// activationsAnswer describes the channels of a layer for the central crop of a picture, and
// shows them.
type activationsAnswer struct {
	File     string   `json:"file"`
	Width    int      `json:"width"` // of the picture, upright
	Height   int      `json:"height"`
	Side     int      `json:"side"` // of the crop that the network sees, in its pixels
	Crop     crop     `json:"crop"`
	Layer    string   `json:"layer"`
	Field    nn.Field `json:"field"`    // of a value, in pixels of the network's crop
	Channels int      `json:"channels"` // of the layer
	Rows     int      `json:"rows"`     // of a channel
	Cols     int      `json:"cols"`
	From     int      `json:"from"` // the first channel that is shown
	// Minimum and Maximum are those of each channel that is shown: its black and its white,
	// or with range=all the least and the greatest of all of them are.
	Minimum []float32 `json:"minimum"`
	Maximum []float32 `json:"maximum"`
	Tiles   tiles     `json:"tiles"`
	drawing           // the channels
}

// tiles is how the channels lie in the picture: channel From+i begins at the pixel
// (i mod Columns)·Cols, (i div Columns)·Rows.
type tiles struct {
	Columns int `json:"columns"`
	Rows    int `json:"rows"`
	Width   int `json:"width"` // of the picture, pixels
	Height  int `json:"height"`
}

// mostTilePixels is the most pixels of a picture of channels.
const mostTilePixels = 16 << 20

// activations shows the channels of a layer for the central crop of a picture, side by side in
// grey.
func (s *Server) activations(w http.ResponseWriter, r *http.Request) error {
	query, h, g, release, err := s.askedAny(r, "model", "layer", "scale", "unrectified", "from", "channels", "range", "format")
	if err != nil {
		return err
	}
	defer release()
	form, err := formOf(r, query, pngForm)
	if err != nil {
		return err
	}
	q, err := activationsOf(query, g.model)
	if err != nil {
		return err
	}
	return s.draw(w, r, h, form, func(ctx context.Context, p picture) (drawnAnswer, []byte, error) {
		return s.activated(ctx, h, g, p, q)
	})
}

// shownChannels are the channels that a request asks for.
type shownChannels struct {
	net         *vgg.Model // up to the layer
	layer       layer
	scale       int
	from, count int
	all         bool // one range of grey for all of them
}

// activationsOf returns the channels that the parameters choose.
func activationsOf(query url.Values, m *vgg.Model) (c shownChannels, err error) {
	list, err := layersOf(m)
	if err != nil {
		return c, err
	}
	c.layer = list[0]
	if query.Has("layer") {
		found := false
		for _, l := range list {
			if l.Name == query.Get("layer") {
				c.layer, found = l, true
			}
		}
		if !found {
			return c, badRequest("parameter layer of %q, want a layer that /v1/layers lists, such as %s", abbreviated(query.Get("layer")), list[0].Name)
		}
	}
	unrectified, err := boolean(query, "unrectified", false)
	if err != nil {
		return c, err
	}
	net, err := m.Net.Until(c.layer.Name, !unrectified)
	if err != nil {
		return c, badRequest("%w", err)
	}
	c.net = &vgg.Model{Net: net, Preprocess: m.Preprocess}
	side := m.Net.Options().Input
	if c.scale, err = integer(query, "scale", m.Preprocess.Resize, 1, 1_000_000); err == nil {
		err = checkScale("scale", c.scale, side)
	}
	if err != nil {
		return c, err
	}
	channels := c.layer.Output[0]
	if c.from, err = integer(query, "from", 0, 0, channels-1); err != nil {
		return c, err
	}
	most := max(1, mostTilePixels/(c.layer.Output[1]*c.layer.Output[2]))
	if c.count, err = integer(query, "channels", min(channels-c.from, most), 1, 1_000_000); err != nil {
		return c, err
	}
	c.count = min(c.count, channels-c.from, most)
	how, err := chosen(query, "range", "each", "all")
	c.all = how == "all"
	return c, err
}

// activated computes the channels and draws them.
func (s *Server) activated(ctx context.Context, h *hosted, g *generation, p picture, c shownChannels) (*activationsAnswer, []byte, error) {
	place, im, release, err := s.placed(ctx, g.batcher, g.model.Preprocess.Orient, p.data)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	side := g.model.Net.Options().Input
	x := tensor.New(1, 3, side, side)
	window := g.model.Preprocess.CentreWindow(im.W, im.H, c.scale, side)
	seen, err := window.Cut(im, g.model.Preprocess.Filter)
	if err != nil {
		return nil, nil, badRequest("the picture: %w", err)
	}
	g.model.Preprocess.Tensor(x.Data, seen, [3]float32{})
	shape, err := c.net.Net.OutputShape(1, side, side)
	if err != nil {
		return nil, nil, err
	}
	y := tensor.New(shape...)
	j, err := g.batcher.alone(ctx, place, func(ctx context.Context) error { return c.net.Net.ForwardContext(ctx, y, x) })
	if err != nil {
		return nil, nil, err
	}
	h.stats.computed(j)
	if !tensor.Finite(y.Data) {
		return nil, nil, errNotFinite
	}
	a := &activationsAnswer{
		File: p.name, Width: im.W, Height: im.H, Side: side, Crop: cropOf(im.W, im.H, window), Layer: c.layer.Name, Field: c.layer.Field,
		Channels: shape[1], Rows: shape[2], Cols: shape[3], From: c.from,
	}
	if a.Field.Whole {
		a.Field = nn.Field{Size: side, Stride: side, Whole: true}
	}
	picture, err := a.draw(y.Data, c)
	return a, picture, err
}

// draw lays the channels side by side, in a picture about as high as wide.
func (a *activationsAnswer) draw(values []float32, c shownChannels) ([]byte, error) {
	size := a.Rows * a.Cols
	columns := int(math.Ceil(math.Sqrt(float64(c.count))))
	rows := (c.count + columns - 1) / columns
	a.Tiles = tiles{columns, rows, columns * a.Cols, rows * a.Rows}
	for i := range c.count {
		channel := values[(c.from+i)*size:][:size]
		low, high := channel[0], channel[0]
		for _, v := range channel {
			low, high = min(low, v), max(high, v)
		}
		a.Minimum, a.Maximum = append(a.Minimum, low), append(a.Maximum, high)
	}
	picture := image.NewGray(image.Rect(0, 0, a.Tiles.Width, a.Tiles.Height))
	for i := range c.count {
		low, high := a.Minimum[i], a.Maximum[i]
		if c.all {
			for k := range c.count {
				low, high = min(low, a.Minimum[k]), max(high, a.Maximum[k])
			}
		}
		channel := values[(c.from+i)*size:][:size]
		x0, y0 := i%columns*a.Cols, i/columns*a.Rows
		for at, v := range channel {
			grey := uint8(0)
			if high > low {
				grey = uint8(math.Round(255 * (float64(v) - float64(low)) / (float64(high) - float64(low))))
			}
			picture.Pix[(y0+at/a.Cols)*picture.Stride+x0+at%a.Cols] = grey
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, picture)
	return b.Bytes(), err
}
