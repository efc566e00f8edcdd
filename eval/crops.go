package eval

import (
	"math"

	"github.com/verydeep/vgg/preprocess"
)

// Corner is the upper left corner of a crop, in pixels of the rescaled image.
type Corner struct{ X, Y int }

// gridSide is the number of crops along either axis of multi-crop evaluation (§3.2).
const gridSide = 5

// Grid returns the corners of the regular 5×5 grid of side×side crops of a w×h image, in
// pixels, row by row. Along an axis of n pixels they are round(j·(n − side)/4), j = 0 … 4:
// the first and the last crop touch the image's borders. Halves are rounded to even, so
// that the middle crop is that of [preprocess.CentreCrop].
//
// The paper says "a regular grid" and no more; that the grid reaches the borders is this
// library's reading. The mirrored crops have the same corners in the mirror image.
func Grid(w, h, side int) []Corner {
	at := func(n, j int) int {
		return int(math.RoundToEven(float64(j*(n-side)) / (gridSide - 1)))
	}
	var corners []Corner
	for y := range gridSide {
		for x := range gridSide {
			corners = append(corners, Corner{at(w, x), at(h, y)})
		}
	}
	return corners
}

// FiveCrops returns the upper left, upper right, lower left, lower right and central
// side×side crop of a w×h image, in the order and at the places of torchvision's
// FiveCrop. The mirrored five have the same corners in the mirror image, as in torchvision's
// TenCrop.
func FiveCrops(w, h, side int) []Corner {
	x, y := preprocess.CentreCrop(w, h, side)
	return []Corner{{0, 0}, {w - side, 0}, {0, h - side}, {w - side, h - side}, {x, y}}
}
