package dataset

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// foreign are files that hold pictures, or archives of them, in forms that aren't read here: how
// they are known, and what to do.
var foreign = []struct {
	what string
	is   func(base string, head []byte) bool
	do   string
}{
	{"CIFAR's batches", func(base string, head []byte) bool {
		return strings.HasPrefix(base, "data_batch_") || base == "batches.meta" || base == "batches.meta.txt" || (base == "train" || base == "test" || base == "meta") && bytes.HasPrefix(head, []byte{0x80, 2})
	}, "write the pictures to files, a folder each class, as by torchvision.datasets.CIFAR10"},
	{"an IDX file of MNIST's kind", func(base string, _ []byte) bool {
		return strings.HasSuffix(strings.TrimSuffix(base, ".gz"), "-ubyte") || strings.HasSuffix(strings.TrimSuffix(base, ".gz"), ".ubyte")
	}, "write the pictures to files, a folder each class, as by torchvision.datasets.MNIST"},
	{"an archive of RAR's kind", hasExt(".rar"), "unpack it (unrar x, or 7z x)"},
	{"an archive of 7-Zip's kind", hasExt(".7z"), "unpack it (7z x)"},
	{"a MAT-file", hasExt(".mat"), "write its pictures to files, a folder each class, as by scipy.io.loadmat"},
	{"arrays of numpy", hasExt(".npy", ".npz"), "write the pictures to files, a folder each class, as by numpy.load and PIL.Image.fromarray"},
	{"an HDF5 file", hasExt(".h5", ".hdf5"), "write its pictures to files, a folder each class, as by h5py and PIL.Image.fromarray"},
	{"records of TensorFlow", func(base string, _ []byte) bool { return strings.Contains(base, ".tfrecord") }, "write the pictures to files, a folder each class, as by tf.data.TFRecordDataset"},
	{"an LMDB database", func(base string, _ []byte) bool { return base == "data.mdb" }, "write its pictures to files, a folder each class, as by the Python package lmdb"},
	{"a data set of Hugging Face in Arrow's form", hasExt(".arrow"), "write it as Parquet, which is read here, as by datasets.load_from_disk and to_parquet"},
	{"pickled objects", hasExt(".pkl", ".pickle"), "write the pictures to files, a folder each class"},
	{"DICOM", hasExt(".dcm", ".dicom"), "convert the pictures to PNG, as by dcmj2pnm or pydicom"},
	{"volumes of NIfTI", func(base string, _ []byte) bool { return strings.Contains(base, ".nii") }, "write the slices to pictures, as by nibabel"},
	{"videos", hasExt(".avi", ".mp4", ".mov", ".mkv", ".webm"), "write frames to pictures, as by ffmpeg"},
	{"binary files", hasExt(".bin"), "write the pictures to files, a folder each class"},
}

// foreignNotes are files of boxes and classes in forms that aren't read here: their extension, what
// their beginning contains, and what they are.
var foreignNotes = []struct {
	ext   string
	words []string
	what  string
}{
	{".json", []string{`"imagePath"`, `"shapes"`}, "an annotation of LabelMe"},
	{".json", []string{`"shape_attributes"`}, "annotations of the VGG Image Annotator"},
	{".json", []string{`"classTitle"`}, "an annotation of Supervisely"},
	{".xml", []string{"<annotations"}, "annotations of CVAT"},
	{".manifest", []string{`"source-ref"`}, "a manifest of SageMaker"},
	{".jsonl", []string{`"source-ref"`}, "a manifest of SageMaker"},
}

// foreignNote names a file of annotations in a folder, or in the folder round it, in a form that
// isn't read, and what to do; "" if there is none.
func (s *search) foreignNote(fsys fs.FS, dir string) string {
	const most = 100 // files looked at
	dirs := []string{dir}
	if dir != "." {
		dirs = append(dirs, path.Dir(dir))
	}
	for _, dir := range dirs {
		l, err := s.list(fsys, dir)
		if err != nil {
			return ""
		}
		for _, f := range l.files[:min(len(l.files), most)] {
			for _, k := range foreignNotes {
				if strings.EqualFold(path.Ext(f), k.ext) && containsAll(beginning(fsys, path.Join(dir, f)), k.words) {
					return fmt.Sprintf("%s is %s, which isn't read: export them as COCO's JSON, YOLO's or PASCAL VOC's files, or write a table of images and classes", path.Join(dir, f), k.what)
				}
			}
		}
	}
	return ""
}

func containsAll(data []byte, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !bytes.Contains(data, []byte(w)) })
}

func hasExt(exts ...string) func(string, []byte) bool {
	return func(base string, _ []byte) bool { return slices.Contains(exts, path.Ext(base)) }
}

// foreignFile names a file in or just below a folder without images that holds pictures in a form
// that isn't read, and what to do; "" if there is none.
func (s *search) foreignFile(fsys fs.FS, dir string) string {
	const most = 20 // folders and files looked at
	l, err := s.list(fsys, dir)
	if err != nil {
		return ""
	}
	found := func(dir string, files []string) string {
		for _, f := range files[:min(len(files), most)] {
			file := path.Join(dir, f)
			head := beginning(fsys, file)
			for _, k := range foreign {
				if k.is(strings.ToLower(f), head) {
					return fmt.Sprintf("%s is %s: %s", file, k.what, k.do)
				}
			}
		}
		return ""
	}
	if text := found(dir, l.files); text != "" {
		return text
	}
	for _, f := range l.folders[:min(len(l.folders), most)] {
		if inner, err := s.list(fsys, path.Join(dir, f)); err == nil {
			if text := found(path.Join(dir, f), inner.files); text != "" {
				return text
			}
		}
	}
	return ""
}
