package cli_test

import (
	"bytes"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/verydeep/vgg/dataset/sample"
)

// pairs DIR N: writes N pictures, each of up to two of the built-in photographs side by side,
// and their labels.csv, with the categories that a picture shows.
func pairs(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	photographs, _, err := sample.Open()
	ts.Check(err)
	names := []string{"bonsai", "ketch", "sunflower"}
	of := map[string][]int{}
	for i, s := range photographs.Samples {
		class := photographs.Classes[s.Label]
		of[class] = append(of[class], i)
	}
	ts.Check(os.MkdirAll(filepath.Join(dir, "jpg"), 0o777))
	table := "image,labels\n"
	for i := range n {
		out := image.NewRGBA(image.Rect(0, 0, 96, 48))
		var shown []string
		for k, name := range names {
			// Every picture of the eight sets of labels in turn; of three, two are drawn.
			if i>>k&1 == 0 || len(shown) == 2 {
				continue
			}
			data, err := photographs.Read(of[name][i/8%len(of[name])])
			ts.Check(err)
			im, err := jpeg.Decode(bytes.NewReader(data))
			ts.Check(err)
			for y := range 48 {
				for x := range 48 {
					b := im.Bounds()
					out.Set(48*len(shown)+x, y, im.At(b.Min.X+x*b.Dx()/48, b.Min.Y+y*b.Dy()/48))
				}
			}
			shown = append(shown, name)
		}
		if len(shown) == 0 {
			draw.Draw(out, out.Bounds(), image.White, image.Point{}, draw.Src)
		}
		var file bytes.Buffer
		ts.Check(jpeg.Encode(&file, out, nil))
		name := fmt.Sprintf("%03d.jpg", i)
		ts.Check(os.WriteFile(filepath.Join(dir, "jpg", name), file.Bytes(), 0o666))
		slices.Reverse(shown) // the order in a table means nothing
		table += name + "," + strings.Join(shown, "|") + "\n"
	}
	ts.Check(os.WriteFile(filepath.Join(dir, "labels.csv"), []byte(table), 0o666))
}
