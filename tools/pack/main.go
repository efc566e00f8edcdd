// Command pack makes the sample that package dataset/sample embeds: a stored zip with
// train/CLASS/… and val/CLASS/… from a folder with one sub-folder a class.
//
//	go run ./tools/pack -from DIR -out dataset/sample/caltech101.zip
//
// The same images give the same bytes. Exit code 0: done, 1: error, 2: usage.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	p := pack{}
	flag.StringVar(&p.from, "from", "", "folder with one sub-folder of images a class")
	flag.StringVar(&p.readme, "readme", "dataset/sample/README.md", "credit and licence, stored as README.md")
	flag.IntVar(&p.train, "train", 40, "training images a class")
	flag.IntVar(&p.val, "val", 10, "validation images a class")
	flag.Int64Var(&p.limit, "limit", 8_000_000, "largest size of the pack in bytes")
	keep := flag.String("train-only", "ketch/image_0041.jpg,grand_piano/image_0046.jpg",
		"images, separated by commas, that show the same photograph as a training image")
	out := flag.String("out", "dataset/sample/caltech101.zip", "the pack to write")
	flag.Parse()
	if p.from == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if *keep != "" {
		p.trainOnly = strings.Split(*keep, ",")
	}
	data, err := p.bytes()
	if err == nil {
		err = os.WriteFile(*out, data, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d bytes\n", *out, len(data))
}
