package resources

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Room bounds the memory of the images that are being read and decoded at one time, by however
// many goroutines. What takes room waits until there is enough; what would take more than all
// of it is refused.
//
// Files and their pixels have separate room, a quarter and three quarters: who holds a file
// may then wait for the room to decode it, and someone always goes on.
type Room struct {
	files, pixels *semaphore.Weighted
	most          [2]int64 // of files, of pixels
	of            string
}

// decodeShare is the divisor of a memory that gives the room for images that are being decoded.
const decodeShare = 4

const (
	// unknownMemory stands for the machine's memory where the system doesn't tell it.
	unknownMemory = 8 << 30
	// mostRoom is enough for any image of preprocess.DefaultMaxPixels.
	mostRoom = 5 << 30
)

// NewRoom returns a room of so many bytes, which are a part of a bound of the process's memory.
func NewRoom(bytes, memory int64) *Room {
	return newRoom(bytes, "the "+mebibytes(memory)+" of memory allowed")
}

func newRoom(bytes int64, of string) *Room {
	files := max(bytes/4, 1)
	pixels := max(bytes-files, 1)
	return &Room{semaphore.NewWeighted(files), semaphore.NewWeighted(pixels), [2]int64{files, pixels}, of}
}

// MachineRoom returns the room that all decoding shares where no memory is given: a quarter
// of the machine's, at most 5 GiB.
func MachineRoom() *Room { return machineRoom() }

var machineRoom = sync.OnceValue(func() *Room {
	memory := Machine()
	if memory == 0 {
		memory = unknownMemory
	}
	return newRoom(min(memory/decodeShare, mostRoom), "the machine's "+mebibytes(memory))
})

// DecodeRoom returns the room of a bounded Memory, a quarter, new with each call; or the
// machine's.
func (r Resources) DecodeRoom() *Room {
	if r.Memory > 0 {
		return NewRoom(r.Memory/decodeShare, r.Memory)
	}
	return MachineRoom()
}

// RoomError reports an image that doesn't fit into memory.
type RoomError struct {
	What       string // "the file" or "decoding"
	Need, Most int64  // bytes
	Of         string // whose part Most is
}

func (e *RoomError) Error() string {
	return fmt.Sprintf("%s takes %s of memory, want at most %s, a part of %s", e.What, mebibytes(e.Need), mebibytes(e.Most), e.Of)
}

// File takes room for a file of so many bytes, and waits for it until ctx is done. release
// gives it back, once.
func (r *Room) File(ctx context.Context, bytes int64) (release func(), err error) {
	return r.take(ctx, r.files, r.most[0], bytes, "the file")
}

// Pixels is [Room.File] for what decoding takes beside the file.
func (r *Room) Pixels(ctx context.Context, bytes int64) (release func(), err error) {
	return r.take(ctx, r.pixels, r.most[1], bytes, "decoding")
}

func (r *Room) take(ctx context.Context, lane *semaphore.Weighted, most, bytes int64, what string) (func(), error) {
	if bytes > most {
		return nil, &RoomError{what, bytes, most, r.of}
	}
	if err := lane.Acquire(ctx, bytes); err != nil {
		return nil, context.Cause(ctx)
	}
	return sync.OnceFunc(func() { lane.Release(bytes) }), nil
}

// mebibytes formats bytes, rounded up.
func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }
