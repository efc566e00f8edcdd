// Decode writes image files, decoded as package preprocess does it, as PPM files into a
// folder. Scripts of tools/oracle that are about something else than decoding read
// these: another JPEG decoder rounds otherwise.
//
//	go run ./tools/oracle/decode FOLDER IMAGE…
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg/preprocess"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("decode FOLDER IMAGE…")
	}
	for _, name := range os.Args[2:] {
		data, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
		if err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		ppm := append(fmt.Appendf(nil, "P6 %d %d 255\n", im.W, im.H), im.Pix...)
		if err := os.WriteFile(filepath.Join(os.Args[1], filepath.Base(name)+".ppm"), ppm, 0o666); err != nil {
			log.Fatal(err)
		}
	}
}
