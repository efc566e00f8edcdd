package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
)

// picturesArg is shared by the commands that answer for each image.
type picturesArg struct {
	Images []string `arg:"" name:"input" help:"Images: files, folders (images at any depth), globs, - for standard input, which is one image or a list of paths, one a line, or sample and folders and images in it, which are built in, such as ${photo}."`
}

// setFlags are shared by the commands that read one set of images: an argument, or --data.
type setFlags struct {
	Sets []string `arg:"" optional:"" name:"input" help:"Set of images, as --data."`
	Data string   `placeholder:"SET" help:"Set of images: a folder with one folder for each class, or with train and val that have such folders; ILSVRC's layout; a table or a list; tar shards, also on a server (https://…, s3://…); or a ZIP file. The word sample stands for the built-in photographs, which are the default where they suit."`
}

// take makes --data of the argument. needed is why a command can't do without; "" if it can.
func (f *setFlags) take(needed string) error {
	switch {
	case len(f.Sets) > 1:
		return usagef("%s and %s both, want one set of images; other networks than the first are named by --with", f.Sets[0], f.Sets[1])
	case len(f.Sets) == 1 && f.Data != "":
		return usagef("%s and --data %s both, want one of them", f.Sets[0], f.Data)
	case len(f.Sets) == 1:
		f.Data, f.Sets = f.Sets[0], nil
	}
	switch {
	case f.Data == stdinName:
		return usagef("%s: a set of images can't come from standard input, want a folder, a table, tar shards or a ZIP file", stdinName)
	case f.Data == "" && needed != "":
		return usagef("no images, want --data SET: %s", needed)
	}
	return nil
}

// manyFlags are shared by the commands that read images of which some may have labels: any
// number of arguments, or --data.
type manyFlags struct {
	Images []string `arg:"" optional:"" name:"input" help:"Images: files, folders (images at any depth), globs, or - for standard input, which is a list of paths, one a line. A single folder, table, ZIP file or tar shards may have classes."`
	Data   string   `placeholder:"SET" help:"Set of images, in the place of the arguments."`
}

// take returns the paths of the images.
func (f *manyFlags) take(e *environment) ([]string, error) {
	switch {
	case len(f.Images) > 0 && f.Data != "":
		return nil, usagef("%s and --data %s both, want one of them", f.Images[0], f.Data)
	case f.Data != "":
		return []string{f.Data}, nil
	case len(f.Images) == 0:
		return nil, usagef("no images, want files, folders, - or --data SET")
	}
	return e.paths(f.Images)
}

// withFlag is shared by the commands that join the outputs of several networks.
type withFlag struct {
	With []string `sep:"none" placeholder:"WEIGHTS" help:"Another network, with scales behind it if wanted, whose outputs are joined with those of the first. Can be given more than once."`
}

// stdinName stands for standard input in the place of a file.
const stdinName = "-"

// picture is an image that the command line names.
type picture struct {
	name string
	data []byte // of standard input and of what is built in; nil for a file
	err  error  // of a folder in which there are none
	out  string // the file of what is drawn of it
}

// pictures returns the images that arguments name: files, those that match globs, those of
// folders at any depth, and standard input. Files that don't exist are among them.
func (e *environment) pictures(args []string) ([]picture, error) {
	var all []picture
	for _, arg := range expand(args) {
		if arg != stdinName {
			files, err := e.filesAt(arg)
			if err != nil {
				return nil, err
			}
			all = append(all, files...)
			continue
		}
		data, paths, err := e.readStdin()
		if err != nil {
			return nil, err
		}
		if paths == nil {
			all = append(all, picture{name: stdinName, data: data})
		}
		for _, path := range paths {
			files, err := e.filesAt(path)
			if err != nil {
				return nil, err
			}
			all = append(all, files...)
		}
	}
	return all, nil
}

// filesAt returns the images of a folder, or the file of that name.
func (e *environment) filesAt(path string) ([]picture, error) {
	if info, err := os.Stat(path); !remote.IsAddress(path) && (err != nil || !info.IsDir()) {
		if errors.Is(err, fs.ErrNotExist) {
			if found, err := builtIn(path); found != nil || err != nil {
				return found, err
			}
		}
		return []picture{{name: path}}, nil
	}
	d, err := dataset.OpenFiles(e.ctx, path)
	if e.stops(err) {
		return nil, err
	}
	if err != nil {
		name := remote.Plain(path)
		return []picture{{name: name, err: errors.New(strings.TrimPrefix(err.Error(), "dataset: "+name+": "))}}, nil
	}
	e.remarkSpecial(d)
	files := make([]picture, d.Len())
	for i, s := range d.Samples {
		files[i].name = filepath.FromSlash(s.Name)
	}
	return files, nil
}

// paths returns the files and folders that arguments name, for commands that keep the names
// of images. Standard input is a list of them.
func (e *environment) paths(args []string) ([]string, error) {
	var all []string
	for _, arg := range expand(args) {
		if arg != stdinName {
			all = append(all, arg)
			continue
		}
		_, paths, err := e.readStdin()
		if err != nil {
			return nil, err
		}
		if paths == nil {
			return nil, usagef("%s: an image on standard input has no name to keep, want files, folders, or a list of paths", stdinName)
		}
		all = append(all, paths...)
	}
	return all, nil
}

// readStdin reads standard input, which is an image or a list of paths, one a line. For an
// image paths is nil.
func (e *environment) readStdin() (data []byte, paths []string, err error) {
	data, err = wholefile.ReadAll(e.ctx, &waitingReader{e.ctx, e.stdin}, 0, preprocess.MaxFileBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("standard input: %w", err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil, errors.New("standard input: empty, want an image or a list of paths")
	}
	if !isList(data) {
		return data, nil, nil
	}
	separator := "\n"
	if bytes.IndexByte(data, 0) >= 0 { // find -print0
		separator = "\x00"
	}
	for line := range strings.SplitSeq(string(data), separator) {
		if separator == "\n" {
			line = strings.TrimSuffix(line, "\r")
		}
		if line != "" {
			paths = append(paths, line)
		}
	}
	return nil, paths, nil
}

// isList reports whether bytes are a list of paths: text without control characters but those
// between lines, or NUL, that is no image in text.
func isList(data []byte) bool {
	_, err := preprocess.ReadHeader(data)
	if err == nil {
		return false
	}
	if format, ok := errors.AsType[*preprocess.FormatError](err); ok && format.Found != "text" && format.Found != "unknown data" {
		return false // SVG, HTML, …: its error tells
	}
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if unicode.IsControl(r) && r != '\n' && r != '\r' && r != 0 {
			return false
		}
		data = data[n:]
	}
	return true
}

// isImageFile reports whether a file begins as an image does.
func isImageFile(path string) bool {
	f, err := wholefile.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false
	}
	return preprocess.IsImage(head[:n])
}

// decodeImage decodes an image. Its errors don't name the file.
func (e *environment) decodeImage(p picture, o preprocess.Orient, maxPixels int) (*preprocess.Image, error) {
	if p.err != nil {
		return nil, p.err
	}
	if p.data == nil {
		var err error
		if p.data, err = e.readPicture(p.name); err != nil {
			return nil, err
		}
	}
	if h, err := preprocess.ReadHeader(p.data); err == nil && h.Grey16 {
		e.grey16.Do(func() { e.remark(preprocess.Grey16Remark) })
	}
	return preprocess.DecodeContext(e.ctx, p.data, preprocess.DecodeOptions{Orient: o, MaxPixels: maxPixels})
}

// readPicture reads the file of a picture, or a built-in photograph.
func (e *environment) readPicture(name string) ([]byte, error) {
	f, err := wholefile.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if found, _ := builtIn(name); len(found) == 1 {
			return found[0].data, nil
		}
	}
	if err != nil {
		return nil, pathless(err)
	}
	defer f.Close()
	return preprocess.Read(e.ctx, f)
}

// waitingReader reads what may wait for ever, as a terminal or a pipe does, until ctx is done.
type waitingReader struct {
	ctx context.Context
	r   io.Reader
}

func (w *waitingReader) Read(p []byte) (int, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() { // it stays behind where r never returns, and p must not be its then
		own := make([]byte, min(len(p), 1<<16))
		n, err := w.r.Read(own)
		read <- result{own[:n], err}
	}()
	select {
	case r := <-read:
		return copy(p, r.data), r.err
	case <-w.ctx.Done():
		return 0, context.Cause(w.ctx)
	}
}

// pathless returns an error of package os without the file's name, for messages that begin
// with it.
func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// expand replaces globs that the shell left alone by the files that they match, sorted. Names
// of files, and globs that match nothing, stay.
func expand(args []string) []string {
	var files []string
	for _, a := range args {
		if _, err := os.Lstat(a); err == nil || !strings.ContainsAny(a, "*?[") {
			files = append(files, a)
			continue
		}
		matches, err := filepath.Glob(a)
		if err != nil || len(matches) == 0 {
			files = append(files, a)
			continue
		}
		slices.Sort(matches)
		files = append(files, matches...)
	}
	return files
}
