package dataset

import "sync"

// cache keeps decoded images, by sample index, until limit bytes are used. It
// evicts nothing: an epoch uses every image once, so an image that replaced
// another would itself be evicted before its next use.
type cache struct {
	mu     sync.Mutex
	images map[int]Decoded
	used   int64
}

func (c *cache) get(i int) Decoded {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.images[i]
}

func (c *cache) put(i int, im Decoded, limit int64) {
	size := int64(len(im.Pix))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.images[i].Image != nil || size > limit-c.used {
		return
	}
	if c.images == nil {
		c.images = make(map[int]Decoded)
	}
	im.release = nil // the cache has room of its own
	c.images[i] = im
	c.used += size
}
