package eval

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/resources"
)

const (
	// processBytes is the memory of the process besides networks and images.
	processBytes = 48 << 20
	// imageBytes is the default bound of the memory of images and activations.
	imageBytes = 2 << 30
	// leastImageBytes is the least memory of images and activations to begin with.
	leastImageBytes = 32 << 20
)

// Shares of the memory that network and process leave, in per cent. What remains is room
// for garbage between two collections.
const (
	passShare   = 45
	decodeShare = 25
	queueShare  = 15
)

// limits divides a bound of the process's memory, in bytes.
type limits struct {
	total  int64 // the bound
	fixed  int64 // process, weights, and answers that are kept in memory
	pass   int64 // one pass of a batch: activations, scratch, input, output
	decode int64 // images that are being decoded and rescaled
	queue  int64 // rescaled images that wait for others of their size

	maxPixels int          // of an image; 0: preprocess.DefaultMaxPixels
	onRemark  func(string) // resources.Resources.OnRemark
}

// anySize reports whether any view shows images at sizes of their own.
func anySize(views []View) bool {
	return slices.ContainsFunc(views, func(v View) bool { return v.Protocol == Dense })
}

// newLimits divides r.Memory, or the default bound where that is 0, for images
// of any size or for crops alone.
func newLimits(d design, anySize bool, r resources.Resources) (limits, error) {
	return limitsBeside(d, anySize, r, 0)
}

// limitsBeside is [newLimits] where other data take so many bytes besides.
func limitsBeside(d design, anySize bool, r resources.Resources, beside int64) (limits, error) {
	memory := r.Memory
	network := d.fixedBytes(anySize)
	fixed := network + beside
	if memory == 0 {
		memory = fixed + imageBytes
	}
	images := memory - fixed
	if images < leastImageBytes {
		return limits{}, tooLittle(memory, fixed+leastImageBytes, network, beside)
	}
	l := limits{maxPixels: r.MaxPixels, onRemark: r.OnRemark, total: memory, fixed: fixed, pass: images * passShare / 100, decode: images * decodeShare / 100, queue: images * queueShare / 100}
	if need, err := d.passBytes(1, d.input, d.input); err != nil {
		return limits{}, err
	} else if need > l.pass {
		return limits{}, fmt.Errorf("eval: memory of %s, want at least %s for one crop of %d×%d", mebibytes(memory), mebibytes(fixed+need*100/passShare), d.input, d.input)
	}
	return l, nil
}

// tooLittle is the error for a bound of memory that leaves no room for images.
func tooLittle(memory, least, network, beside int64) error {
	if beside > network {
		return fmt.Errorf("eval: memory of %s, want at least %s, of which the network takes %s and the posteriors of all images %s: a result file keeps them out of memory", mebibytes(memory), mebibytes(least), mebibytes(network), mebibytes(beside))
	}
	return fmt.Errorf("eval: memory of %s, want at least %s, of which the network takes %s", mebibytes(memory), mebibytes(least), mebibytes(network))
}

// DefaultMemory returns the bound, in bytes, of the memory for evaluating a network if no
// other is given. Crops alone have a smaller one.
func DefaultMemory(net *network.Network) int64 {
	return design{input: net.Options().Input, chain: net.Chain()}.fixedBytes(true) + imageBytes
}

// mebibytes formats bytes for errors.
func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// heapGuard keeps the process within a bound of memory. The garbage collector by itself
// lets garbage grow to the size of what is live, and the weights of a large network are
// most of that; the guard collects earlier. Several goroutines may use one.
type heapGuard struct {
	bound   int64  // bytes that the Go runtime may hold
	between uint64 // bytes allocated since the last collection that make another worthwhile

	mu        sync.Mutex
	announced int64 // bytes that are about to be allocated
	samples   []metrics.Sample
	collected uint64 // bytes that the process had allocated at the last collection
}

// outsideRuntime is the memory of the process that the Go runtime doesn't count: its code.
const outsideRuntime = 32 << 20

func newHeapGuard(l limits) *heapGuard {
	garbage := l.total - l.fixed - l.pass - l.decode - l.queue
	return &heapGuard{
		bound: l.total - l.total/50 - outsideRuntime, between: uint64(garbage / 4),
		samples: []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/gc/heap/allocs:bytes"}},
	}
}

// makeRoom announces so many bytes to be allocated until done is called, and collects
// garbage if they might exceed the bound.
func (g *heapGuard) makeRoom(bytes int64) (done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.announced += bytes
	done = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.announced -= bytes
	}
	held, allocated := g.read()
	if held+g.announced <= g.bound || allocated-g.collected < g.between {
		return done
	}
	g.collected = allocated
	runtime.GC()
	// What is free may lie in pieces too small for the next image.
	if held, _ := g.read(); held+g.announced > g.bound {
		debug.FreeOSMemory()
	}
	return done
}

// read returns the bytes that the runtime holds, and the bytes that the process has ever
// allocated.
func (g *heapGuard) read() (held int64, allocated uint64) {
	metrics.Read(g.samples)
	total, released := g.samples[0].Value.Uint64(), g.samples[1].Value.Uint64()
	return int64(total - released), g.samples[2].Value.Uint64()
}
