package localize

import (
	"math"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
)

// corners is a box as x0, y0, x1, y1.
type corners = [4]float64

// encode returns the centre, the width and the height of a box.
func encode(b corners) [4]float64 {
	return [4]float64{(b[0] + b[2]) / 2, (b[1] + b[3]) / 2, b[2] - b[0], b[3] - b[1]}
}

// decode is the inverse of encode. A negative width or height counts as 0.
func decode(v [4]float64) corners {
	w, h := math.Max(v[2], 0)/2, math.Max(v[3], 0)/2
	return corners{v[0] - w, v[1] - h, v[0] + w, v[1] + h}
}

// turn returns boxes of the stored image, in pixels, in those of the image of w×h pixels that an
// EXIF orientation made of it.
func turn(boxes []corners, w, h, orientation int) []corners {
	if orientation < 2 {
		return boxes
	}
	w, h = preprocess.TurnSize(w, h, orientation) // as it is stored
	turned := make([]corners, len(boxes))
	for i, b := range boxes {
		turned[i] = preprocess.TurnBox(b, w, h, orientation)
	}
	return turned
}

// toCrop converts a box from pixels of the image to coordinates of the crop, in units
// of its side: the crop covers [0,1] in x and in y.
func toCrop(v dataset.View, b corners) corners {
	sx, sy := float64(v.W)/float64(v.ImageW), float64(v.H)/float64(v.ImageH)
	side := float64(v.Side)
	c := corners{
		(b[0]*sx - float64(v.X)) / side, (b[1]*sy - float64(v.Y)) / side,
		(b[2]*sx - float64(v.X)) / side, (b[3]*sy - float64(v.Y)) / side,
	}
	if v.Flip {
		c[0], c[2] = 1-c[2], 1-c[0]
	}
	return c
}

// toImage is the inverse of toCrop.
func toImage(v dataset.View, c corners) corners {
	if v.Flip {
		c[0], c[2] = 1-c[2], 1-c[0]
	}
	sx, sy := float64(v.ImageW)/float64(v.W), float64(v.ImageH)/float64(v.H)
	side := float64(v.Side)
	return corners{
		(c[0]*side + float64(v.X)) * sx, (c[1]*side + float64(v.Y)) * sy,
		(c[2]*side + float64(v.X)) * sx, (c[3]*side + float64(v.Y)) * sy,
	}
}

// clip cuts a box to an image of w×h. The result may be empty.
func clip(b corners, w, h float64) corners {
	cut := func(x, most float64) float64 { return math.Min(math.Max(x, 0), most) }
	return corners{cut(b[0], w), cut(b[1], h), cut(b[2], w), cut(b[3], h)}
}

func area(b corners) float64 { return (b[2] - b[0]) * (b[3] - b[1]) }

// usable reports whether a box is finite and not empty.
func usable(b corners) bool {
	a := area(b)
	return a > 0 && !math.IsInf(a, 0) && b[0] < b[2]
}

// predicted converts four outputs of the network for a view into a box in pixels of the
// image, cut to the image.
func predicted(v dataset.View, outputs []float32) corners {
	var o [4]float64
	for i := range o {
		o[i] = float64(outputs[i])
	}
	return clip(toImage(v, decode(o)), float64(v.ImageW), float64(v.ImageH))
}
