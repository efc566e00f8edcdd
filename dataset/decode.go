package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

// DecodeOptions chooses how images are decoded, and within which bounds.
type DecodeOptions struct {
	preprocess.DecodeOptions
	// Room is the memory that the files and images share which are decoded at one time;
	// nil: resources.MachineRoom(). Pictures of [FromPictures] that aren't encoded need none.
	Room *resources.Room
	// OnHeader hears of an image file's header before it is decoded. Several goroutines call it;
	// nil: nobody.
	OnHeader func(preprocess.Header)
}

// Decoded is an image, turned by its EXIF orientation if that was wanted.
type Decoded struct {
	*preprocess.Image
	Orientation int // by which it was turned; 0 or 1: not at all
	release     func()
}

// Release gives back the image's part of the room it was decoded in. It is called when the
// image is no longer used; then, or later, by the garbage collector, goes its memory.
func (d Decoded) Release() {
	if d.release != nil {
		d.release()
	}
}

// Decode reads and decodes sample i. While others decode it waits for its part of the
// room. It is an error if the image takes more than all of it, which is a
// [*resources.RoomError], and it ends with the context's cause once ctx is done.
func (d *Dataset) Decode(ctx context.Context, i int, o DecodeOptions) (Decoded, error) {
	if err := d.check(i); err != nil {
		return Decoded{}, err
	}
	room := o.Room
	if room == nil {
		room = resources.MachineRoom()
	}
	name := d.Samples[i].Name
	if m, ok := d.fsys.(*memoryFS); ok {
		im, err := m.decode(ctx, name, o, room)
		if err != nil {
			return Decoded{}, fmt.Errorf("dataset: %s: %w", d.Name, err)
		}
		return im, nil
	}
	data, release, err := d.ReadIn(ctx, i, room)
	if err != nil {
		return Decoded{}, err
	}
	defer release()
	return decodeFile(ctx, data, o, room)
}

// ReadIn is [Dataset.Read] of a file that takes its part of a room, for which it waits until
// ctx is done. The caller releases it when the bytes are no longer used.
func (d *Dataset) ReadIn(ctx context.Context, i int, room *resources.Room) (data []byte, release func(), err error) {
	if err := d.check(i); err != nil {
		return nil, nil, err
	}
	if _, ok := d.fsys.(*memoryFS); ok {
		data, err = d.Read(i)
		return data, func() {}, err
	}
	name := d.Samples[i].Name
	if fsys, name, ok := d.withContext(name); ok {
		return d.readFar(ctx, fsys, name, room)
	}
	f, size, err := d.open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if release, err = room.File(ctx, size); err != nil {
		return nil, nil, err
	}
	if data, err = wholefile.ReadAll(ctx, f, size, preprocess.MaxFileBytes); err != nil {
		release()
		return nil, nil, d.readError(name, err)
	}
	return data, release, nil
}

// withContext returns the file system of a file that lies on a server, and its name there.
func (d *Dataset) withContext(name string) (*shardFS, string, bool) {
	fsys := d.fsys
	if j, ok := fsys.(joinedFS); ok {
		i, rest := j.find(name)
		if i < 0 {
			return nil, "", false
		}
		fsys, name = j[i], rest
	}
	s, ok := fsys.(*shardFS)
	return s, name, ok && s.far != nil
}

// readFar is ReadIn of a file on a server.
func (d *Dataset) readFar(ctx context.Context, fsys *shardFS, name string, room *resources.Room) (data []byte, release func(), err error) {
	info, err := fsys.Stat(name)
	if err != nil {
		return nil, nil, d.readError(name, err)
	}
	if release, err = room.File(ctx, info.Size()); err != nil {
		return nil, nil, err
	}
	if data, err = fsys.readContext(ctx, name); err != nil {
		release()
		return nil, nil, d.readError(name, err)
	}
	return data, release, nil
}

// open opens an image file and returns its size in bytes.
func (d *Dataset) open(name string) (fs.File, int64, error) {
	f, size, err := wholefile.OpenFS(d.fsys, name, preprocess.MaxFileBytes)
	if err != nil {
		return nil, 0, d.readError(name, err)
	}
	return f, size, nil
}

// readError names the dataset in an error of reading a file, and the file if it is too large.
func (d *Dataset) readError(name string, err error) error {
	if size, ok := errors.AsType[*wholefile.SizeError](err); ok {
		err = &tooLargeError{name, size}
	}
	return fmt.Errorf("dataset: %s: %w", d.Name, err)
}

// tooLargeError is the error of an image file with too many bytes.
type tooLargeError struct {
	name string
	size *wholefile.SizeError
}

func (e *tooLargeError) Error() string { return e.name + ": " + e.size.Error() }

func (e *tooLargeError) Is(target error) bool { return target == preprocess.ErrFileTooLarge }

// decodeFile decodes an image file.
func decodeFile(ctx context.Context, data []byte, o DecodeOptions, room *resources.Room) (Decoded, error) {
	h, err := preprocess.ReadHeader(data)
	if err == nil {
		err = h.Check(o.MaxPixels)
	}
	if err != nil {
		return Decoded{}, err
	}
	if o.OnHeader != nil {
		o.OnHeader(h)
	}
	orientation := o.Orient.Orientation(data)
	need := h.DecodeBytes
	if orientation > 1 {
		need += 3 * int64(h.W) * int64(h.H)
	}
	release, err := room.Pixels(ctx, need)
	if err != nil {
		if _, ok := errors.AsType[*resources.RoomError](err); ok {
			err = fmt.Errorf("%s image of %d×%d pixels: %w", h.Format, h.W, h.H, err)
		}
		return Decoded{}, err
	}
	o.Orient = preprocess.Stored
	im, err := preprocess.DecodeContext(ctx, data, o.DecodeOptions)
	if err != nil {
		release()
		return Decoded{}, err
	}
	return Decoded{preprocess.Turn(im, orientation), orientation, release}, nil
}

// Environment reports whether an image couldn't be read for want of something that isn't the
// image's: the process may open no more files, say, or the work was interrupted. Such an image
// isn't unreadable; the work ends with the error. So it is if a server doesn't give the image, but
// not if what it gives is damaged. An error of the disk is the image's own.
func Environment(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || wholefile.Exhausted(err) || remote.Failed(err))
}
