package dataset

import (
	"sync"

	"github.com/verydeep/vgg/preprocess"
)

// turned is an image, turned by its EXIF orientation if that is wanted.
type turned struct {
	*preprocess.Image
	orientation int
}

// cache keeps decoded images, by sample index, until limit bytes are used. It
// evicts nothing: an epoch uses every image once, so an image that replaced
// another would itself be evicted before its next use.
type cache struct {
	mu     sync.Mutex
	images map[int]turned
	used   int64
}

func (c *cache) get(i int) turned {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.images[i]
}

func (c *cache) put(i int, im turned, limit int64) {
	size := int64(len(im.Pix))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.images[i].Image != nil || size > limit-c.used {
		return
	}
	if c.images == nil {
		c.images = make(map[int]turned)
	}
	c.images[i] = im
	c.used += size
}
