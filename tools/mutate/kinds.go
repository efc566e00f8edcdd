package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/train"
	"github.com/verydeep/vgg/transfer"
	"github.com/verydeep/vgg/weights"
)

// kind is a format of files.
type kind struct {
	name  string
	seeds [][]byte // valid files
	// read reads a file as far as vgg does. Its error is of the file, except for errNotFinite.
	read func(data []byte) error
}

// largestSeed is the most bytes of a file that is changed: reading larger ones takes longer
// and finds no more.
const largestSeed = 64 << 10

// kinds returns the formats. dir is a folder for files that are read by name.
func kinds(dir string) ([]*kind, error) {
	var all []*kind
	add := func(name string, read func([]byte) error, seeds ...[]byte) {
		all = append(all, &kind{name, seeds, read})
	}
	var errs error
	files := func(patterns ...string) [][]byte {
		var found [][]byte
		for _, p := range patterns {
			f, err := fixtures(p)
			if err != nil && errs == nil {
				errs = err
			}
			found = append(found, f...)
		}
		return found
	}

	const v0 = "testdata/compat/v0/"
	for name, patterns := range map[string][]string{
		"safetensors": {v0 + "*.safetensors", "testdata/foreign/*.safetensors"},
		"pth":         {v0 + "net.pth", "weights/testdata/torch/*.pth", "testdata/modules/*.pth", "testdata/foreign/*.pth"}, "TorchScript": {"testdata/modules/*.pt"},
		"npz": {v0 + "net.npz", "weights/testdata/npz/*.npz"}, "mat": {"weights/testdata/mat/*.mat"}, "caffemodel": {"weights/testdata/caffe/*.caffemodel"},
		"h5": {"testdata/keras/*.h5"}, "keras": {"testdata/keras/*.keras"}, "onnx": {v0 + "net.onnx", "testdata/onnx/*.onnx"},
	} {
		add(name, readWeights, files(patterns...)...)
	}
	add("checkpoint", func(b []byte) error {
		f, err := weights.OpenReader(context.Background(), "file", bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return err
		}
		return readAll(f)
	}, files(v0+"run/checkpoints/*", v0+"boxes/checkpoints/*")...)
	model, shard := tfjs()
	add("tfjs", func(b []byte) error { return readTFJS(b, shard) }, model...)
	add("tfjs shard", func(b []byte) error { return readTFJS(model[0], b) }, shard)

	for name, patterns := range map[string][]string{
		"jpeg": {"preprocess/testdata/*/*.jpg"}, "png": {"preprocess/testdata/*/*.png"}, "gif": {"preprocess/testdata/*/*.gif"}, "webp": {"preprocess/testdata/*/*.webp"},
		"bmp": {"preprocess/testdata/*/*.bmp"}, "tiff": {"preprocess/testdata/*/*.tif", "preprocess/testdata/*/*.tiff"}, "pnm": {"preprocess/testdata/*/*.p?m"},
	} {
		add(name, readPicture, files(patterns...)...)
	}

	picture := files("preprocess/testdata/decode/rgb.png")
	if errs != nil {
		return nil, errs
	}
	for name, texts := range map[string][]string{
		"labels.csv":  {"file,label,name,split\na.png,0,cat,train\nc.png,1,dog,val\n", "a.png cat\nc.png dog\n", "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,20,16,cat,1,2,13,12\nc.png,20,16,dog,3,4,10,11\n"},
		"train.jsonl": {"{\"file_name\": \"a.png\", \"label\": \"cat\"}\n{\"file_name\": \"c.png\", \"label\": \"dog\"}\n", "{\"file_name\": \"a.png\", \"labels\": [\"cat\", \"dog\"]}\n{\"file_name\": \"c.png\", \"labels\": []}\n"},
		"coco.json":   {`{"images":[{"id":1,"file_name":"a.png","width":20,"height":16},{"id":2,"file_name":"c.png","width":20,"height":16}],"annotations":[{"image_id":1,"category_id":7,"bbox":[1,2,8,9],"iscrowd":0},{"image_id":2,"category_id":8,"bbox":[1.5,2,3,4],"segmentation":[[1,1,2,2,3,3]]}],"categories":[{"id":7,"name":"cat"},{"id":8,"name":"dog"}]}`},
		"data.yaml":   {"path: .\ntrain: .\nval: .\nnames:\n  0: cat\n  1: dog\n", "names: [cat, dog]\nnc: 2\ntrain: [a.png, c.png]\n"},
		"a.txt":       {"0 0.5 0.5 0.2 0.3\n1 0.1 0.1 0.9 0.1 0.9 0.9\n"},
		"a.xml":       {"<annotation><filename>a.png</filename><size><width>20</width><height>16</height><depth>3</depth></size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>13</xmax><ymax>12</ymax></bndbox></object></annotation>"},
	} {
		var seeds [][]byte
		for _, text := range texts {
			seeds = append(seeds, []byte(text))
		}
		add(name, func(b []byte) error {
			fsys := fstest.MapFS{"a.png": {Data: picture[0]}, "c.png": {Data: picture[0]}}
			switch name {
			case "a.txt":
				fsys["data.yaml"], fsys["c.txt"] = &fstest.MapFile{Data: []byte("names: [cat, dog]\ntrain: .\n")}, &fstest.MapFile{Data: []byte(texts[0])}
			case "data.yaml":
				fsys["a.txt"], fsys["c.txt"] = &fstest.MapFile{Data: []byte("0 0.5 0.5 0.2 0.3\n")}, &fstest.MapFile{Data: []byte("1 0.5 0.5 0.2 0.3\n")}
			case "a.xml":
				fsys["c.xml"] = &fstest.MapFile{Data: bytes.ReplaceAll([]byte(texts[0]), []byte("a.png"), []byte("c.png"))}
			}
			fsys[name] = &fstest.MapFile{Data: b}
			return readSet(fsys, ".")
		}, seeds...)
	}
	tarFile, zipFile := archives(picture[0])
	for name, data := range map[string][]byte{"s.tar": tarFile, "s.tar.gz": gzipped(tarFile), "s.tar.zst": zstandard(tarFile), "s.zip": zipFile} {
		add(name, func(b []byte) error { return readSet(fstest.MapFS{name: {Data: b}}, name) }, data)
	}
	add("parquet", func(b []byte) error {
		return readSet(fstest.MapFS{"train.parquet": {Data: b}}, ".")
	}, files("dataset/testdata/parquet/*/*.parquet", "dataset/testdata/parquet/*/*/*.parquet")...)
	shardTar := files(v0 + "shards/train/*.tar")
	add("shard index", func(b []byte) error {
		return readSet(fstest.MapFS{
			"train/shard-000000.tar": {Data: shardTar[0]}, "train/shard-000000.tar.index": {Data: b}, "train/classes.txt": {Data: []byte("blue\ngreen\nred\n")},
		}, ".")
	}, files(v0+"shards/train/*.index")...)

	named := func(name string, read func(string) error) func([]byte) error {
		file := filepath.Join(dir, name)
		return func(b []byte) error {
			if err := os.WriteFile(file, b, 0o666); err != nil {
				panic(err)
			}
			return read(file)
		}
	}
	ctx := context.Background()
	add("results", named("r.jsonl", func(file string) error {
		r, err := eval.OpenResults(ctx, file)
		if err != nil {
			return err
		}
		defer r.Close()
		result, err := r.Evaluate(ctx, eval.Options{Mistakes: 3})
		if err == nil && (math.IsNaN(result.Top1Error) || math.IsInf(result.Top1Error, 0)) && result.Images > result.Unreadable {
			return errNotFinite
		}
		return err
	}), files(v0+"eval*.jsonl")...)
	numbers, index := files(v0+"f.npy"), files(v0+"f.npy.jsonl")
	if errs != nil {
		return nil, errs
	}
	descriptors := func(file string) error {
		d, err := transfer.Open(ctx, file)
		if err != nil {
			return err
		}
		defer d.Close()
		_, err = d.Load(ctx)
		return err
	}
	npy := filepath.Join(dir, "i.npy")
	add("descriptors index", func(b []byte) error {
		if err := writeBoth(npy, numbers[0], npy+".jsonl", b); err != nil {
			panic(err)
		}
		return descriptors(npy)
	}, index...)
	add("descriptors npy", func(b []byte) error {
		if err := writeBoth(npy, b, npy+".jsonl", index[0]); err != nil {
			panic(err)
		}
		return descriptors(npy)
	}, numbers...)
	add("descriptors safetensors", named("f.safetensors", descriptors), files(v0+"f.safetensors")...)
	add("SVMs", named("svm.safetensors", func(file string) error {
		_, err := transfer.OpenSVM(ctx, file)
		return err
	}), files(v0+"svm.safetensors")...)
	runDir := filepath.Join(dir, "run")
	if err := os.MkdirAll(filepath.Join(runDir, "checkpoints"), 0o777); err != nil {
		return nil, err
	}
	add("run directory", func(b []byte) error {
		if err := os.WriteFile(filepath.Join(runDir, "checkpoints", "checkpoint-0000000020.safetensors"), b, 0o666); err != nil {
			panic(err)
		}
		_, err := train.LatestCheckpoint(ctx, runDir)
		return err
	}, files(v0+"run/checkpoints/*")...)
	add("recipe", func(b []byte) error {
		_, err := train.ParseRecipe(b, train.PaperRecipe())
		return err
	}, files(v0+"recipe.yaml")...)
	slices.SortFunc(all, func(a, b *kind) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return all, errs
}

// fixtures returns the files of the repository that match a pattern and are small enough, in
// the order of their names. Those of a folder may be packed in FOLDER.tar.zst.
func fixtures(pattern string) ([][]byte, error) {
	byName := map[string][]byte{}
	take := func(name string, size int64, read func() ([]byte, error)) error {
		if size > largestSeed {
			return nil
		}
		b, err := read()
		byName[name] = b
		return err
	}
	archive := path.Dir(pattern) + ".tar.zst"
	f, err := os.Open(archive)
	if err == nil {
		defer f.Close()
		z, err := zstd.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", archive, err)
		}
		defer z.Close()
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", archive, err)
			}
			if ok, _ := path.Match(path.Base(pattern), h.Name); ok {
				if err := take(h.Name, h.Size, func() ([]byte, error) { return io.ReadAll(r) }); err != nil {
					return nil, fmt.Errorf("%s: %w", archive, err)
				}
			}
		}
	} else {
		names, _ := filepath.Glob(filepath.FromSlash(pattern))
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				return nil, err
			}
			if err := take(name, info.Size(), func() ([]byte, error) { return os.ReadFile(name) }); err != nil {
				return nil, err
			}
		}
	}
	if len(byName) == 0 {
		return nil, fmt.Errorf("no files %s: want to be run in the module's folder", pattern)
	}
	var found [][]byte
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		found = append(found, byName[name])
	}
	return found, nil
}

// writeBoth writes two files.
func writeBoth(path string, data []byte, other string, otherData []byte) error {
	if err := os.WriteFile(path, data, 0o666); err != nil {
		return err
	}
	return os.WriteFile(other, otherData, 0o666)
}

// largestSide is the most pixels of the side of a network's input that is run.
const largestSide = 256

var grey = image.NewGray(image.Rect(0, 0, 48, 40))

// readWeights reads every tensor, and the network if there is one.
func readWeights(b []byte) error {
	f, err := weights.OpenReader(context.Background(), "file", bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	if err := readAll(f); err != nil {
		return err
	}
	o := vgg.OpenOptions{Preprocess: "unit"}
	m, err := vgg.OpenReader(context.Background(), "file", bytes.NewReader(b), int64(len(b)), o)
	if _, ok := errors.AsType[*vgg.AmbiguousError](err); ok {
		o.Input = 64
		m, err = vgg.OpenReader(context.Background(), "file", bytes.NewReader(b), int64(len(b)), o)
	}
	if err != nil {
		return err
	}
	return scores(m)
}

func readAll(f *weights.File) error {
	defer f.Close()
	var bad error
	for _, e := range f.Tensors() {
		if _, err := f.Read(e.Name); err != nil {
			bad = err
		}
	}
	return bad
}

// scores runs a network.
func scores(m *vgg.Model) error {
	if o := m.Net.Options(); o.Classes == 0 || o.Input > largestSide || m.Preprocess.Resize > largestSide {
		return nil
	}
	scores, err := m.Scores(grey, m.Preprocess.Resize)
	if err != nil {
		return err
	}
	for _, s := range scores {
		if math.IsNaN(float64(s)) || math.IsInf(float64(s), 0) {
			return errNotFinite
		}
	}
	return nil
}

// tfjs returns models of TensorFlow.js and the values of their tensors.
func tfjs() (models [][]byte, shard []byte) {
	shard = make([]byte, 4*(3*3*3*4+4+4*5+5))
	for i := range shard {
		shard[i] = byte(i*7) & 0x3f
	}
	for _, dtype := range []string{`"float32"`, `"float32","quantization":{"dtype":"uint8","min":-1,"scale":0.01}`} {
		models = append(models, fmt.Appendf(nil, `{"format":"layers-model","weightsManifest":[{"paths":["s.bin"],"weights":[{"name":"conv/kernel","shape":[3,3,3,4],"dtype":%[1]s},`+
			`{"name":"conv/bias","shape":[4],"dtype":%[1]s},{"name":"fc/kernel","shape":[4,5],"dtype":%[1]s},{"name":"fc/bias","shape":[5],"dtype":%[1]s}]}],`+
			`"modelTopology":{"model_config":{"class_name":"Sequential","config":{"layers":[{"class_name":"Conv2D","config":{"name":"conv","batch_input_shape":[null,32,32,3],`+
			`"filters":4,"kernel_size":[3,3],"padding":"same","activation":"relu"}},{"class_name":"GlobalAveragePooling2D","config":{"name":"gap"}},`+
			`{"class_name":"Dense","config":{"name":"fc","units":5,"activation":"softmax"}}]}}}}`, dtype))
	}
	return models, shard
}

func readTFJS(model, shard []byte) error {
	fsys := fstest.MapFS{"model.json": {Data: model}, "s.bin": {Data: shard}}
	f, err := weights.OpenFS(context.Background(), fsys, "model.json")
	if err != nil {
		return err
	}
	if err := readAll(f); err != nil {
		return err
	}
	m, err := vgg.OpenFS(context.Background(), fsys, "model.json", vgg.OpenOptions{Preprocess: "unit"})
	if err != nil {
		return err
	}
	return scores(m)
}

// largestPicture is the most pixels that are decoded.
const largestPicture = 1 << 18

func readPicture(b []byte) error {
	_, err := preprocess.Decode(b, preprocess.DecodeOptions{Orient: preprocess.Upright, MaxPixels: largestPicture})
	return err
}

// readSet opens a collection of pictures and reads all of it, and its boxes.
func readSet(fsys fstest.MapFS, path string) error {
	ctx := context.Background()
	train, val, err := dataset.Open(ctx, path, dataset.OpenOptions{FS: fsys})
	if err != nil {
		return err
	}
	for _, d := range []*dataset.Dataset{train, val} {
		if d == nil {
			continue
		}
		for i := range d.Samples {
			if b, err := d.Read(i); err == nil {
				_ = readPicture(b)
			}
		}
		boxed, _, err := dataset.ReadBoxes(ctx, d, dataset.BoxOptions{})
		if err != nil { // many have none
			continue
		}
		for _, s := range boxed.Samples {
			for _, b := range s.Boxes {
				for _, v := range []float64{b.X0, b.Y0, b.X1, b.Y1} {
					if math.IsNaN(v) || math.IsInf(v, 0) {
						return errNotFinite
					}
				}
			}
		}
	}
	return nil
}

// archives returns pictures of two classes in a tar and a ZIP file.
func archives(picture []byte) (tarFile, zipFile []byte) {
	var t, z bytes.Buffer
	tw, zw := tar.NewWriter(&t), zip.NewWriter(&z)
	for _, name := range []string{"cat/a.png", "cat/b.png", "dog/a.png"} {
		must(tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(picture))}))
		_, err := tw.Write(picture)
		must(err)
		w, err := zw.Create(name)
		must(err)
		_, err = w.Write(picture)
		must(err)
	}
	must(tw.Close())
	must(zw.Close())
	return t.Bytes(), z.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	must(err)
	must(w.Close())
	return out.Bytes()
}

func zstandard(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	must(err)
	return w.EncodeAll(b, nil)
}

// must panics: these files are written to memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
