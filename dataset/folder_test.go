package dataset

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg/internal/vggtest"
)

func names(d *Dataset) []string {
	if d == nil {
		return nil
	}
	var out []string
	for _, s := range d.Samples {
		out = append(out, s.Name+"="+d.Classes[s.Label])
	}
	return out
}

func TestOpenFolderLayouts(t *testing.T) {
	for _, c := range []struct {
		name       string
		files      []string
		classes    []string
		train, val []string
	}{
		{
			"classes",
			[]string{"dog/b.jpg", "dog/a.PNG", "cat/x.JPEG", "notes.txt", "stray.jpg"},
			[]string{"cat", "dog"},
			[]string{"cat/x.JPEG=cat", "dog/a.PNG=dog", "dog/b.jpg=dog"}, nil,
		},
		{
			"train and val",
			[]string{"train/b/1.jpg", "train/a/1.gif", "val/a/2.webp", "val/b/2.bmp", "test/c/3.jpg"},
			[]string{"a", "b"},
			[]string{"train/a/1.gif=a", "train/b/1.jpg=b"},
			[]string{"val/a/2.webp=a", "val/b/2.bmp=b"},
		},
		{
			"train alone",
			[]string{"train/a/1.jpg", "train/b/1.jpg"},
			[]string{"a", "b"},
			[]string{"train/a/1.jpg=a", "train/b/1.jpg=b"}, nil,
		},
		{
			"a class called train",
			[]string{"bus/1.jpg", "car/1.jpg", "train/1.jpg"},
			[]string{"bus", "car", "train"},
			[]string{"bus/1.jpg=bus", "car/1.jpg=car", "train/1.jpg=train"}, nil,
		},
		{
			"images below sub-folders, as in Tiny ImageNet",
			[]string{"train/n01/images/1.JPEG", "train/n01/n01_boxes.txt", "train/n01/0.jpg"},
			[]string{"n01"},
			[]string{"train/n01/0.jpg=n01", "train/n01/images/1.JPEG=n01"}, nil,
		},
		{
			"hidden and other files",
			[]string{".git/x.jpg", "a/.thumbs/1.jpg", "a/._1.jpg", "a/1.jpg", "a/1.jpg.txt", "a/Thumbs.db", "a/jpg"},
			[]string{"a"},
			[]string{"a/1.jpg=a"}, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := folder(t, c.files...)
			train, val, err := openFolders(&search{ctx: t.Context()}, root, os.DirFS(root))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(train.Classes, c.classes) {
				t.Errorf("classes %v, want %v", train.Classes, c.classes)
			}
			if !reflect.DeepEqual(names(train), c.train) {
				t.Errorf("train %v, want %v", names(train), c.train)
			}
			if !reflect.DeepEqual(names(val), c.val) {
				t.Errorf("val %v, want %v", names(val), c.val)
			}
			for i, s := range train.Samples {
				if data, err := train.Read(i); err != nil || string(data) != s.Name {
					t.Errorf("Read(%d) = %q, %v, want %q", i, data, err, s.Name)
				}
			}
		})
	}
}

func TestOpenFolderErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		want  []string
	}{
		{"empty", nil, []string{"empty", "one folder of images for each class"}},
		{"images without classes", []string{"1.jpg", "2.jpg"}, []string{"2 images without a class folder"}},
		{"class without images", []string{"b/", "c/notes.txt"}, []string{"no images in class folder b, c"}},
		{"many classes without images", []string{"a/", "b/", "c/", "d/", "e/", "f/", "g/"}, []string{"a, b, c, d, e and 2 more"}},
		{"empty train", []string{"train/", "val/a/1.jpg"}, []string{"/train: empty"}},
		{"train without classes", []string{"train/1.jpg", "val/a/1.jpg"}, []string{"/train: 1 images without a class folder"}},
		{"val class without images", []string{"train/a/1.jpg", "val/a/"}, []string{"/val: no images in class folder a"}},
		{"empty val", []string{"train/a/1.jpg", "val/"}, []string{"/val: empty"}},
		{
			"other classes",
			[]string{"train/a/1.jpg", "train/b/1.jpg", "val/b/1.jpg", "val/c/1.jpg"},
			[]string{"/val: class c, which train lacks, want only classes of train: a, b"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := folder(t, c.files...)
			train, val, err := openFolders(&search{ctx: t.Context()}, root, os.DirFS(root))
			if err == nil || train != nil || val != nil {
				t.Fatalf("OpenFolder = %v, %v, %v, want an error", train, val, err)
			}
			for _, want := range append(c.want, "dataset: "+root) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want it to say %q", err, want)
				}
			}
		})
	}
}

func TestOpenNothing(t *testing.T) {
	root := folder(t, "a.jpg")
	_, _, err := Open(t.Context(), filepath.Join(root, "none"), OpenOptions{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), "none: no such folder or file") {
		t.Errorf("missing folder: %v", err)
	}
	_, _, err = Open(t.Context(), filepath.Join(root, "a.jpg"), OpenOptions{})
	if err == nil || !strings.Contains(err.Error(), "a file, want a folder") {
		t.Errorf("a file: %v", err)
	}
}

func TestOpenFolderFollowsLinks(t *testing.T) {
	elsewhere := folder(t, "cat/1.jpg", "one.jpg")
	root := folder(t, "train/dog/2.jpg")
	link := func(to, from string) {
		if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
			vggtest.Skip(t, "symbolic links")
		}
	}
	link(filepath.Join(elsewhere, "cat"), "train/cat")
	link(filepath.Join(elsewhere, "one.jpg"), "train/dog/1.jpg")
	link(filepath.Join(elsewhere, "none"), "train/gone")
	link(filepath.Join(root, "train"), "val")
	train, val, err := openFolders(&search{ctx: t.Context()}, root, os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"train/cat/1.jpg=cat", "train/dog/1.jpg=dog", "train/dog/2.jpg=dog"}; !slices.Equal(names(train), want) {
		t.Errorf("train %v, want %v", names(train), want)
	}
	if len(val.Samples) != 3 {
		t.Errorf("val %v, want the training part's", names(val))
	}
	if data, err := train.Read(1); err != nil || string(data) != "one.jpg" {
		t.Errorf("Read through a link = %q, %v", data, err)
	}
}

func TestReadMissing(t *testing.T) {
	root := folder(t, "a/1.jpg")
	d, _, err := openFolders(&search{ctx: t.Context()}, root, os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "a", "1.jpg")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(0); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a/1.jpg") {
		t.Errorf("Read of a removed file: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, s := range []Sample{{Name: "a/1.jpg", Label: 1}, {Name: "a/1.jpg", Label: -1}, {Name: "/etc/passwd"}, {Name: "../1.jpg"}} {
		if _, err := New("d", fstest.MapFS{}, []string{"a"}, []Sample{s}); err == nil {
			t.Errorf("New with %+v: no error", s)
		}
	}
}
