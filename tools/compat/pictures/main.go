// Pictures writes the images of testdata/compat, eight for each class and part: noise that
// is tinted red, green or blue, with one bright square, whose box is in the tables.
//
//	go run ./tools/compat/pictures DIR
package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("pictures DIR")
	}
	for seed, part := range []string{"train", "val"} {
		rng := rand.New(rand.NewPCG(uint64(seed), 15))
		boxes := []byte("file,x0,y0,x1,y1,class\n")
		for channel, class := range []string{"red", "green", "blue"} {
			for i := range 4 - 2*seed {
				name := fmt.Sprintf("%s/%d.png", class, i)
				w, h := 18+rng.IntN(6), 18+rng.IntN(6)
				side := 6 + rng.IntN(6)
				x, y := rng.IntN(w-side), rng.IntN(h-side)
				im := image.NewNRGBA(image.Rect(0, 0, w, h))
				for v := range h {
					for u := range w {
						// Few grey levels, so that the file is small.
						c := [3]uint8{uint8(rng.IntN(3)) * 20, uint8(rng.IntN(3)) * 20, uint8(rng.IntN(3)) * 20}
						c[channel] += 80
						if u >= x && u < x+side && v >= y && v < y+side {
							c[channel] += 120
						}
						im.SetNRGBA(u, v, color.NRGBA{c[0], c[1], c[2], 255})
					}
				}
				var b bytes.Buffer
				if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, im); err != nil {
					log.Fatal(err)
				}
				write(filepath.Join(os.Args[1], part, name), b.Bytes())
				boxes = fmt.Appendf(boxes, "%s,%d,%d,%d,%d,%s\n", name, x, y, x+side, y+side, class)
			}
		}
		write(filepath.Join(os.Args[1], part+"_boxes.csv"), boxes)
	}
}

func write(path string, data []byte) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		log.Fatal(err)
	}
}
