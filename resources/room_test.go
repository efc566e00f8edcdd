package resources

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// The room is never overdrawn, and those who hold a file and wait for its pixels all get on.
func TestRoom(t *testing.T) {
	room := newRoom(1000, "the 1000 bytes of the test")
	var files, pixels, most atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			file, err := room.File(t.Context(), 200)
			if err != nil {
				t.Error(err)
				return
			}
			if files.Add(200) > 250 {
				t.Error("files overdrawn")
			}
			held, err := room.Pixels(t.Context(), 300)
			if err != nil {
				t.Error(err)
				return
			}
			now := pixels.Add(300)
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			pixels.Add(-300)
			held()
			held() // gives nothing back twice
			files.Add(-200)
			file()
		})
	}
	wg.Wait()
	if m := most.Load(); m > 750 {
		t.Errorf("%d bytes of pixels at once, want at most 750", m)
	}
}

func TestRoomRefuses(t *testing.T) {
	room := NewRoom(4<<20, 16<<20)
	_, err := room.Pixels(t.Context(), 4<<20)
	if want := "decoding takes 4 MiB of memory, want at most 3 MiB, a part of the 16 MiB of memory allowed"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, ok := errors.AsType[*RoomError](err); !ok {
		t.Errorf("error %T", err)
	}
	if _, err := room.File(t.Context(), 1<<20+1); err == nil {
		t.Error("a file of more than the room: no error")
	}
}

func TestRoomIsCancelled(t *testing.T) {
	room, cause := NewRoom(1<<20, 1<<20), errors.New("signal")
	if _, err := room.Pixels(t.Context(), 768<<10); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := room.Pixels(ctx, 1); !errors.Is(err, cause) {
		t.Errorf("error %v, want the cause", err)
	}
}

func TestDecodeRoom(t *testing.T) {
	if r := (Resources{}).DecodeRoom(); r != MachineRoom() || r.most[0]+r.most[1] > mostRoom {
		t.Error("without a bound the room isn't the machine's")
	}
	if r := (Resources{Memory: 1 << 30}).DecodeRoom(); r.most != [2]int64{64 << 20, 192 << 20} {
		t.Errorf("of 1 GiB: %v", r.most)
	}
}
