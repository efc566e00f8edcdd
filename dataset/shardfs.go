package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/verydeep/vgg/preprocess"
)

// Open returns an image.
func (s *shardFS) Open(name string) (fs.File, error) {
	data, err := s.ReadFile(name)
	if err != nil {
		return nil, err
	}
	e := s.entries[name]
	return &shardFile{bytes.NewReader(data), shardInfo{path.Base(name), e.size, s.dates[e.shard]}}, nil
}

// Stat returns an image's size.
func (s *shardFS) Stat(name string) (fs.FileInfo, error) {
	e, ok := s.entries[name]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return shardInfo{path.Base(name), e.size, s.dates[e.shard]}, nil
}

// tarBlock is the length of a header, which comes before the data.
const tarBlock = 512

// ReadFile returns an image's bytes. The header before them must give their size,
// which shows an index that belongs to another shard, and their checksum must be that of the index.
func (s *shardFS) ReadFile(name string) ([]byte, error) {
	return s.readContext(context.Background(), name)
}

// readContext is ReadFile that ends with ctx.
func (s *shardFS) readContext(ctx context.Context, name string) ([]byte, error) {
	e, ok := s.entries[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if e.size > preprocess.MaxFileBytes {
		return nil, s.entryError(name, preprocess.ErrFileTooLarge)
	}
	if s.far != nil && s.held[e.shard] == nil {
		return s.far.read(ctx, s, name)
	}
	data := make([]byte, tarBlock+e.size)
	if err := s.readAt(data, e); err != nil {
		return nil, s.entryError(name, err)
	}
	if err := s.checkEntry(data, e); err != nil {
		return nil, s.entryError(name, err)
	}
	return data[tarBlock:], nil
}

// entryError names the shard and the image in an error.
func (s *shardFS) entryError(name string, err error) error {
	return fmt.Errorf("%s: %s: %w", s.place(s.entries[name].shard), name, err)
}

// place returns what errors call a shard: its file, or its address.
func (s *shardFS) place(shard int) string {
	if s.far != nil {
		return s.far.files.Address(s.shards[shard])
	}
	return s.shards[shard]
}

// readAt reads an image and the header before it from the disk or from memory.
func (s *shardFS) readAt(data []byte, e shardEntry) error {
	var at io.ReaderAt = s.held[e.shard]
	if s.held[e.shard] == nil {
		f, err := s.fsys.Open(s.shards[e.shard])
		if err != nil {
			return err
		}
		defer f.Close()
		ok := false
		if at, ok = f.(io.ReaderAt); !ok {
			return errors.New("a shard within an archive can't be read")
		}
	}
	_, err := at.ReadAt(data, e.offset-tarBlock)
	return err
}

// checkEntry compares a header and an image with the index.
func (s *shardFS) checkEntry(data []byte, e shardEntry) error {
	if size, ok := tarSize(data[:tarBlock]); !ok || size != e.size {
		return fmt.Errorf("not where the index says; want %s%s removed or made anew", s.shards[e.shard], indexExt)
	}
	if sum := imageSum(data[tarBlock:]); e.summed && sum != e.sum {
		return fmt.Errorf("checksum %08x, and %08x by the index: the shard is damaged or another than the index is of; want it copied again, or vgg shard --reindex", sum, e.sum)
	}
	return nil
}

// tarSize returns the size that a header gives. No image has the eight gigabytes for
// which another form of the field is used.
func tarSize(header []byte) (int64, bool) {
	field := strings.Trim(string(header[124:136]), " \x00")
	n, err := strconv.ParseInt(field, 8, 64)
	return n, err == nil
}

type shardFile struct {
	*bytes.Reader
	info shardInfo
}

func (f *shardFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *shardFile) Close() error               { return nil }

// shardInfo describes an image in a shard.
type shardInfo struct {
	name string
	size int64
	date time.Time // of the shard
}

func (i shardInfo) Name() string       { return i.name }
func (i shardInfo) Size() int64        { return i.size }
func (i shardInfo) Mode() fs.FileMode  { return 0o444 }
func (i shardInfo) ModTime() time.Time { return i.date }
func (i shardInfo) IsDir() bool        { return false }
func (i shardInfo) Sys() any           { return nil }
