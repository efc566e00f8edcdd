package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// inputs writes what the commands read, into the folder in.
func (k *killTest) inputs(ctx context.Context) error {
	dir := filepath.Join(k.dir, "in")
	boxes := "file,class,x0,y0,x1,y1\n"
	var parts [2]strings.Builder
	for part, name := range []string{"train", "val"} {
		n := 8
		if part == 1 {
			n = 4
		}
		for _, class := range colours {
			for i := range n {
				fmt.Fprintf(&parts[part], "%s/%s/%02d.png,%s,%d,5,%d,30\n", name, class, i, class, 4+i, 30+i)
			}
		}
		if err := pictures(filepath.Join(dir, "boxed", name), n); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"boxed/train_boxes.csv": boxes + parts[0].String(), "boxed/val_boxes.csv": boxes + parts[1].String(),
		"plan.yaml": "title: Colours\nlabels: [network, Q]\nrows:\n" +
			"  - labels: [D, \"36\"]\n    nets: [{weights: D-256, scales: [36]}]\n" +
			"  - labels: [D, \"36,48\"]\n    nets: [{weights: D-256, scales: [36, 48], protocol: multi-crop-dense}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(text), 0o666); err != nil {
			return err
		}
	}
	if err := errors.Join(pictures(filepath.Join(dir, "photos"), 8), pictures(filepath.Join(dir, "more"), 10), os.MkdirAll(filepath.Join(dir, "w"), 0o777)); err != nil {
		return err
	}
	// Commands run where those of the trials do, so that the paths in their files are the same.
	work := filepath.Join(k.dir, "work", "inputs")
	if err := os.MkdirAll(work, 0o777); err != nil {
		return err
	}
	small := []string{"--learning-rate", "0.0001", "--set", "standardise=true", "--input", "32", "--scale-min", "34", "--scale-max", "40", "--test-scale", "36", "--batch", "8", "--keep", "0", "--epochs", "2"}
	for _, args := range [][]string{
		append([]string{"train", "--data", in("photos"), "--config", "A", "--width", "0.0625", "--fc", "16", "--init", "he", "--out", "net"}, small...),
		{"convert", "net/last.safetensors", in("net.safetensors")},
		{"convert", "net/last.safetensors", in("w/D-256.safetensors")},
		append([]string{"localize", "train", "--data", in("boxed"), "--init-from", in("net.safetensors"), "--out", "boxes"}, small...),
		{"eval", in("net.safetensors"), "--data", in("photos"), "--out", in("r1.jsonl")},
		{"eval", in("net.safetensors"), "--data", in("photos"), "--out", in("r2.jsonl"), "--protocol", "dense"},
		{"eval", in("net.safetensors"), "--data", in("photos"), "--out", in("s1.jsonl"), "--shard", "1/2"},
		{"eval", in("net.safetensors"), "--data", in("photos"), "--out", in("s2.jsonl"), "--shard", "2/2"},
		{"features", in("net.safetensors"), in("photos"), "--out", in("d1.npy"), "--shard", "1/2"},
		{"features", in("net.safetensors"), in("photos"), "--out", in("d2.npy"), "--shard", "2/2"},
		{"features", in("net.safetensors"), in("photos"), "--out", in("d.npy")},
		{"index", in("net.safetensors"), in("photos"), "--out", in("i.npy")},
		{"transfer", "train", in("d.npy"), "--out", in("svm.safetensors")},
	} {
		cmd := exec.CommandContext(ctx, k.vgg, args...)
		cmd.Dir = work
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("vgg %s: %w\n%s", strings.Join(args, " "), err, text)
		}
	}
	return copyFile(filepath.Join(work, "boxes", "last.safetensors"), filepath.Join(dir, "boxes.safetensors"))
}

var colours = []string{"red", "green", "blue"}

// pictures writes n pictures of each class: noise, brightest in the colour of the class.
func pictures(dir string, n int) error {
	rng := rand.New(rand.NewPCG(7, 0))
	var errs []error
	for class, name := range colours {
		folder := filepath.Join(dir, name)
		errs = append(errs, os.MkdirAll(folder, 0o777))
		for i := range n {
			im := image.NewRGBA(image.Rect(0, 0, 48, 40))
			for y := range 40 {
				for x := range 48 {
					c := [3]uint8{uint8(rng.UintN(128)), uint8(rng.UintN(128)), uint8(rng.UintN(128))}
					c[class] += 60
					im.SetRGBA(x, y, color.RGBA{c[0], c[1], c[2], 255})
				}
			}
			var b bytes.Buffer
			errs = append(errs, png.Encode(&b, im), os.WriteFile(filepath.Join(folder, fmt.Sprintf("%02d.png", i)), b.Bytes(), 0o666))
		}
	}
	return errors.Join(errs...)
}
