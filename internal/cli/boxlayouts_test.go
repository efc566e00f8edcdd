package cli_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// xml writes a photograph of each class and, elsewhere, its box in PASCAL VOC's format. The
// patterns have the class and a number.
func (b *builder) xml(images, notes string, n int) {
	b.folders(images, n)
	for _, class := range three {
		for i := range n {
			b.write(fmt.Sprintf(notes, class, i), fmt.Sprintf("<annotation><filename>x.jpg</filename><size><width>40</width><height>40</height></size>"+
				"<object><name>%s</name><bndbox><xmin>6</xmin><ymin>6</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object></annotation>", class))
		}
	}
}

// yolo does the same in YOLO's format.
func (b *builder) yolo(images, notes string, n int) {
	b.folders(images, n)
	for number, class := range three {
		for i := range n {
			b.write(fmt.Sprintf(notes, class, i), fmt.Sprintf("%d 0.5 0.5 0.5 0.5\n", number))
		}
	}
}

// coco does the same in COCO's format; folder is that of the images, which the file leaves out.
func (b *builder) coco(file, folder string, n int) {
	b.folders(folder+"/%s_%d.jpg", n)
	var images, boxes, categories []string
	for number, class := range three {
		categories = append(categories, fmt.Sprintf(`{"id":%d,"name":%q}`, 10*number+1, class))
		for i := range n {
			id := 100*number + i
			images = append(images, fmt.Sprintf(`{"id":%d,"file_name":"%s_%d.jpg","width":40,"height":40}`, id, class, i))
			boxes = append(boxes, fmt.Sprintf(`{"id":%d,"image_id":%d,"category_id":%d,"iscrowd":0,"bbox":[5,5,25,25],"segmentation":[[5,5,30,5,30,30]]}`, id+1, id, 10*number+1))
		}
	}
	b.write(file, fmt.Sprintf(`{"images":[%s],"annotations":[%s],"categories":[%s]}`, strings.Join(images, ","), strings.Join(boxes, ","), strings.Join(categories, ",")))
}

const dataYAML = "nc: 3\nnames: [bonsai, ketch, watch]\n"

// pack replaces what was built by an archive of it.
func (b *builder) pack(name string) {
	var files []string
	err := fs.WalkDir(os.DirFS(b.dir), ".", func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	})
	var out bytes.Buffer
	var to io.WriteCloser = nopCloser{&out}
	if err == nil {
		switch filepath.Ext(name) {
		case ".gz":
			to = gzip.NewWriter(&out)
		case ".zst":
			to, err = zstd.NewWriter(&out)
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	var add func(name string, data []byte) error
	var end func() error
	if strings.HasSuffix(name, ".zip") {
		w := zip.NewWriter(to)
		end = w.Close
		add = func(name string, data []byte) error {
			e, err := w.Create(name)
			if err == nil {
				_, err = e.Write(data)
			}
			return err
		}
	} else {
		w := tar.NewWriter(to)
		end = w.Close
		add = func(name string, data []byte) error {
			err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Typeflag: tar.TypeReg, Mode: 0o644})
			if err == nil {
				_, err = w.Write(data)
			}
			return err
		}
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(b.dir, f))
		if err == nil {
			err = add(f, data)
		}
		if err == nil {
			err = os.Remove(filepath.Join(b.dir, f))
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	if err := end(); err != nil {
		b.t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		b.t.Fatal(err)
	}
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(b.dir, e.Name())); err != nil {
			b.t.Fatal(err)
		}
	}
	b.write(name, out.String())
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// mac adds what a Mac puts into its archives.
func (b *builder) mac() {
	b.write("__MACOSX/._pets", "junk")
	b.write("__MACOSX/watch/._0.jpg", "junk")
	b.write(".DS_Store", "junk")
	b.write("watch/.DS_Store", "junk")
	b.write("watch/._0.jpg", "junk")
}

func init() {
	layouts = slices.Concat(layouts, boxLayouts, archiveLayouts)
}

// boxLayouts are the layouts of images with boxes.
var boxLayouts = []layout{
	{
		name:    "images and annots",
		build:   func(b *builder) { b.xml("images/%s%d.jpg", "annots/%s%d.xml", 4) },
		classes: each(4), parts: map[string]int{"all": 12}, skipped: map[string]int{},
	},
	{
		name:    "images and annotations, as PNG",
		build:   func(b *builder) { b.xml("images/%s%d.png", "annotations/%s%d.xml", 4); b.flat("images/none%d.png", 2) },
		classes: each(4), parts: map[string]int{"all": 12}, skipped: map[string]int{"image without a box": 2},
	},
	{
		name:    "pictures and labels",
		build:   func(b *builder) { b.xml("pictures/%s%d.jpg", "labels/%s%d.xml", 4) },
		classes: each(4), parts: map[string]int{"all": 12},
	},
	{
		name:    "annotations in a folder of their own, as the flag says",
		build:   func(b *builder) { b.xml("x/images/%s%d.jpg", "y/%s%d.xml", 4) },
		data:    "x/images",
		flags:   []string{"--annotations", "{dir}/y"},
		classes: each(4), parts: map[string]int{"all": 12},
	},
	{
		name: "train, valid and test with XML beside the images, as Roboflow exports",
		build: func(b *builder) {
			b.xml("train/%s%d.jpg", "train/%s%d.xml", 4)
			b.xml("valid/%s%d.jpg", "valid/%s%d.xml", 2)
			b.xml("test/%s%d.jpg", "test/%s%d.xml", 1)
			b.write("README.roboflow.txt", "text")
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 6, "test": 3}, skipped: map[string]int{},
	},
	{
		name: "COCO",
		build: func(b *builder) {
			b.coco("annotations/instances_train2017.json", "train2017", 4)
			b.coco("annotations/instances_val2017.json", "val2017", 2)
			b.write("annotations/captions_val2017.json", `{"images":[],"annotations":[]}`)
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 6},
	},
	{
		name: "_annotations.coco.json, as Roboflow exports",
		build: func(b *builder) {
			b.coco("train/_annotations.coco.json", "train", 4)
			b.coco("valid/_annotations.coco.json", "valid", 2)
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 6}, skipped: map[string]int{},
	},
	{
		name: "YOLO with data.yaml, as Roboflow exports",
		build: func(b *builder) {
			b.yolo("train/images/%s%d.jpg", "train/labels/%s%d.txt", 4)
			b.yolo("valid/images/%s%d.jpg", "valid/labels/%s%d.txt", 2)
			b.write("data.yaml", "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"+dataYAML)
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 6}, skipped: map[string]int{},
	},
	{
		name: "YOLO, its data.yaml named",
		build: func(b *builder) {
			b.yolo("images/train/%s%d.jpg", "labels/train/%s%d.txt", 4)
			b.yolo("images/val/%s%d.jpg", "labels/val/%s%d.txt", 2)
			b.write("zoo.yaml", "path: /home/somebody/zoo\ntrain: images/train\nval: images/val\n"+dataYAML)
		},
		data:    "zoo.yaml",
		classes: each(4), parts: map[string]int{"train": 12, "val": 6},
	},
	{
		name:    "YOLO without names",
		build:   func(b *builder) { b.yolo("images/%s%d.jpg", "labels/%s%d.txt", 4) },
		refused: "YOLO's text files give classes by number, want a data.yaml or a classes.txt with their names",
	},
	{
		name: "boxes in two formats",
		build: func(b *builder) {
			b.xml("images/%s%d.jpg", "xml/%s%d.xml", 4)
			for _, class := range three {
				b.write("labels/"+class+"0.txt", "0 0.5 0.5 0.5 0.5\n")
			}
			b.write("classes.txt", "thing\n")
		},
		refused: "want one of them named with --annotations",
	},
	{
		name: "class folders that have other names than the boxes",
		build: func(b *builder) {
			b.xml("one/%s%d.jpg", "one/%s%d.xml", 2)
			b.xml("two/%s%d.jpg", "two/%s%d.xml", 2)
		},
		refused: "--layout folders (the classes are one, two) or --layout boxes (the classes are the names of the boxes: bonsai, ketch, watch)",
	},
	{
		name: "class folders that have other names than the boxes, as the flag says",
		build: func(b *builder) {
			b.xml("one/%s%d.jpg", "one/%s%d.xml", 2)
			b.xml("two/%s%d.jpg", "two/%s%d.xml", 2)
		},
		flags:   []string{"--layout", "boxes"},
		classes: each(4), parts: map[string]int{"all": 12},
	},
}

// archiveLayouts are those of archives.
var archiveLayouts = []layout{
	{
		name:    "a ZIP file from a Mac",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.mac(); b.pack("pets.zip") },
		data:    "pets.zip",
		classes: each(4), parts: map[string]int{"all": 12}, skipped: map[string]int{},
	},
	{
		name: "a ZIP file of train and valid, the only file of a folder",
		build: func(b *builder) {
			b.folders("pets/train/%s/%d.jpg", 4)
			b.folders("pets/valid/%s/%d.jpg", 2)
			b.pack("pets.zip")
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 6},
	},
	{
		name: "101_ObjectCategories.tar.gz",
		build: func(b *builder) {
			b.folders("101_ObjectCategories/%s/image_%04d.jpg", 4)
			b.mac()
			b.pack("101_ObjectCategories.tar.gz")
		},
		data:    "101_ObjectCategories.tar.gz",
		classes: each(4), parts: map[string]int{"all": 12},
	},
	{
		name:    "a tar file compressed by Zstandard",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.pack("pets.tar.zst") },
		data:    "pets.tar.zst",
		classes: each(4), parts: map[string]int{"all": 12},
	},
	{
		name:    "a plain tar file of class folders",
		build:   func(b *builder) { b.folders("pets/%s/%d.jpg", 4); b.pack("pets.tar") },
		data:    "pets.tar",
		classes: each(4), parts: map[string]int{"all": 12},
	},
	{
		name: "COCO in a ZIP file",
		build: func(b *builder) {
			b.coco("annotations/instances_train.json", "train", 4)
			b.coco("annotations/instances_val.json", "val", 2)
			b.pack("coco.zip")
		},
		data:    "coco.zip",
		classes: each(4), parts: map[string]int{"train": 12, "val": 6},
	},
	{
		name: "shards by a pattern",
		build: func(b *builder) {
			var shards []string
			for number, class := range three {
				for i := range 4 {
					b.photo(fmt.Sprintf("%s%d.jpg", class, i), class)
					b.write(fmt.Sprintf("%s%d.cls", class, i), class)
				}
				b.pack("shard.tar")
				data, err := os.ReadFile(filepath.Join(b.dir, "shard.tar"))
				if err == nil {
					err = os.Remove(filepath.Join(b.dir, "shard.tar"))
				}
				if err != nil {
					b.t.Fatal(err)
				}
				shards = append(shards, fmt.Sprintf("s-%06d.tar", number), string(data))
			}
			for s := range slices.Chunk(shards, 2) {
				b.write(s[0], s[1])
			}
			b.write("other.tar", "no shard")
		},
		data:    "s-{000000..000002}.tar",
		classes: each(4), parts: map[string]int{"all": 12},
	},
	{
		name:    "an encrypted ZIP file",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 1); b.pack("pets.zip"); b.encrypt("pets.zip") },
		data:    "pets.zip",
		refused: "want it unpacked: unzip it with its password first",
	},
	{
		name:    "a tar file compressed by xz",
		build:   func(b *builder) { b.write("pets.tar.xz", "\xfd7zXZ\x00rest") },
		data:    "pets.tar.xz",
		refused: "compressed by xz, want it unpacked: mkdir pets && tar -xJf pets.tar.xz -C pets",
	},
}

// encrypt marks the entries of a ZIP file as encrypted.
func (b *builder) encrypt(name string) {
	file := filepath.Join(b.dir, name)
	data, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	for at := 0; ; {
		next := bytes.Index(data[at:], []byte("PK\x01\x02"))
		if next < 0 {
			break
		}
		at += next + 8
		data[at] |= 1
	}
	b.write(name, string(data))
}
