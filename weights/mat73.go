package weights

import (
	"io"

	"github.com/verydeep/vgg/internal/hdf5"
	"github.com/verydeep/vgg/internal/matfile"
)

// Files of version 7.3 are HDF5 after a block of 512 bytes that begins like the header of
// level 5. An array is a dataset whose axes are MATLAB's in reverse order, a struct is a
// group, and the elements of cells and struct arrays are references to objects. The
// attribute MATLAB_class names the class, and MATLAB_empty marks an array without
// elements, whose dataset holds its shape.

// mat73Arrays and mat73Depth bound the arrays of a file, and the levels of cells and structs.
const mat73Arrays, mat73Depth = 100_000, 32

func isMAT73(head []byte) bool {
	const magic = "MATLAB 7.3 MAT-file"
	return len(head) >= len(magic) && string(head[:len(magic)]) == magic
}

// mat73 makes arrays of the objects of a file.
type mat73 struct {
	r      io.ReaderAt
	file   *hdf5.File
	arrays int
}

func readMAT73(r io.ReaderAt, size int64) ([]*matfile.Array, error) {
	f, err := hdf5.Open(r, size)
	if err != nil {
		return nil, err
	}
	root, err := f.Root()
	if err != nil {
		return nil, err
	}
	names, err := root.Sorted()
	if err != nil {
		return nil, err
	}
	m := &mat73{r: r, file: f, arrays: mat73Arrays}
	var all []*matfile.Array
	for _, name := range names {
		if name == "#refs#" || name == "#subsystem#" {
			continue
		}
		o, err := root.Child(name)
		if err != nil {
			return nil, err
		}
		a, err := m.array(o, 0)
		if err != nil {
			return nil, inLayer(name, err)
		}
		a.Name = name
		all = append(all, a)
	}
	return all, nil
}

// array makes an array of an object.
func (m *mat73) array(o *hdf5.Object, depth int) (*matfile.Array, error) {
	if m.arrays--; m.arrays < 0 {
		return nil, malformed("", "more than %d arrays", mat73Arrays)
	}
	if depth > mat73Depth {
		return nil, malformed("", "cells and structs over %d deep", mat73Depth)
	}
	a := &matfile.Array{}
	class, _, err := o.Strings("MATLAB_class")
	if err != nil {
		return nil, err
	}
	if len(class) == 1 {
		a.Class = class[0]
	}
	if !o.IsDataset() {
		return a, m.structs(a, o, depth)
	}
	d, err := o.Dataset()
	if err != nil {
		return nil, err
	}
	empty, err := o.HasAttribute("MATLAB_empty")
	if err != nil {
		return nil, err
	}
	if empty || d.Bytes() == 0 {
		a.Shape = []int{0, 0}
		return a, nil
	}
	for i := range d.Shape {
		a.Shape = append(a.Shape, d.Shape[len(d.Shape)-1-i])
	}
	if a.Class == "cell" {
		a.Elements, err = m.references(d, depth)
		return a, err
	}
	a.Data = matfile.Data{R: datasetReader{d}, End: d.Bytes(), Type: d.Type.Name, BigEndian: d.Type.BigEndian}
	if at, ok := d.Contiguous(); ok {
		a.Data.R, a.Data.Begin, a.Data.End, a.Data.InFile = m.r, at, at+d.Bytes(), true
	}
	switch {
	case a.Class == "char" && d.Type.Name == "uint16", a.Class == "char" && d.Type.Name == "uint8":
	case a.Class == "logical" || a.Class == "":
		a.Class = "double"
		fallthrough
	default:
		switch d.Type.Name {
		case "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64":
		default: // of a class whose content isn't read
			a.Class, a.Data = "opaque", matfile.Data{}
		}
	}
	return a, nil
}

// structs reads a group, which is a struct. That of a struct array has references as
// members, of a class that isn't read.
func (m *mat73) structs(a *matfile.Array, o *hdf5.Object, depth int) error {
	if a.Class == "" {
		a.Class = "struct"
	}
	a.Shape = []int{1, 1}
	names, err := o.Sorted()
	if err != nil {
		return err
	}
	for _, name := range names {
		child, err := o.Child(name)
		if err != nil {
			return err
		}
		e, err := m.array(child, depth+1)
		if err != nil {
			return inLayer(name, err)
		}
		a.Fields, a.Elements = append(a.Fields, name), append(a.Elements, e)
	}
	return nil
}

// references returns the arrays that the elements of a dataset refer to.
func (m *mat73) references(d *hdf5.Dataset, depth int) ([]*matfile.Array, error) {
	objects, err := m.file.References(d)
	if err != nil {
		return nil, err
	}
	var all []*matfile.Array
	for _, o := range objects {
		e, err := m.array(o, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// datasetReader reads the elements of a dataset.
type datasetReader struct{ *hdf5.Dataset }

// ReadAt implements [io.ReaderAt].
func (d datasetReader) ReadAt(b []byte, at int64) (int, error) {
	n := len(b)
	if at < 0 || at > d.Bytes() {
		return 0, io.EOF
	}
	if int64(n) > d.Bytes()-at {
		n = int(d.Bytes() - at)
	}
	if err := d.Dataset.ReadAt(b[:n], at); err != nil {
		return 0, err
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
