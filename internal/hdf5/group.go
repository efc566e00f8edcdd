package hdf5

import (
	"bytes"
	"slices"
)

// Names returns the names in a group, in the order of the file, which is alphabetical in
// groups of the old kind. Soft links and links into other files are left out. The caller
// must not change the slice.
func (o *Object) Names() ([]string, error) {
	if o.links != nil {
		return o.names, nil
	}
	o.links = make(map[string]uint64)
	err := o.readLinks()
	if err != nil {
		o.links, o.names = nil, nil
	}
	return o.names, err
}

func (o *Object) link(name string, at uint64) error {
	if _, ok := o.links[name]; ok {
		return formatError("%q: name given twice", name)
	}
	if err := o.f.spend(int64(len(name))); err != nil {
		return err
	}
	o.links[name] = at
	o.names = append(o.names, name)
	return nil
}

func (o *Object) readLinks() error {
	table, err := o.message(messageSymbolTable)
	if err != nil {
		return err
	}
	if table != nil {
		return o.readSymbolTable(table)
	}
	for _, m := range o.messages {
		if m.kind == messageLink {
			if err := o.readLink(m.data); err != nil {
				return err
			}
		}
	}
	info, err := o.message(messageLinkInfo)
	if info == nil || err != nil {
		return err
	}
	version, flags := info.uint(1), info.uint(1)
	if version != 0 {
		return formatError("link info of version %d, want 0", version)
	}
	if flags&1 != 0 {
		info.skip(8)
	}
	heap, index := o.f.address(info), o.f.address(info)
	if info.short {
		return formatError("link info: truncated")
	}
	if heap == undefined {
		return nil
	}
	return within(o.f.dense(heap, index, linkNameRecord, o.readLink), "links")
}

// readLink reads a link message.
func (o *Object) readLink(data []byte) error {
	c := &cursor{b: data}
	version, flags := c.uint(1), c.uint(1)
	if version != 1 {
		return formatError("link of version %d, want 1", version)
	}
	kind := uint64(0)
	if flags&0x08 != 0 {
		kind = c.uint(1)
	}
	if flags&0x04 != 0 {
		c.skip(8) // creation order
	}
	if flags&0x10 != 0 {
		c.skip(1) // character set
	}
	length := c.uint(1 << (flags & 3))
	if length > uint64(c.left()) {
		return formatError("link: truncated")
	}
	name := string(c.bytes(int(length)))
	if kind != 0 {
		return nil
	}
	at := o.f.address(c)
	if c.short {
		return formatError("link: truncated")
	}
	return o.link(name, at)
}

// readSymbolTable reads the links of a group of the old kind: a B-tree of version 1
// with symbol table nodes as leaves, and a local heap with the names.
func (o *Object) readSymbolTable(c *cursor) error {
	tree, heap := o.f.address(c), o.f.address(c)
	if c.short {
		return formatError("symbol table: truncated")
	}
	head, err := o.f.signed(heap, uint64(8+2*o.f.length+o.f.width), "HEAP", "local heap")
	if err != nil {
		return err
	}
	head.skip(4)
	size := head.uint(o.f.length)
	head.skip(o.f.length)
	names, err := o.f.block(o.f.address(head), size, "local heap")
	if err != nil {
		return err
	}
	return o.f.walkTree(tree, 0, func(_ []byte, at uint64) error {
		return o.readSymbols(at, names.b)
	})
}

// readSymbols reads a symbol table node.
func (o *Object) readSymbols(at uint64, names []byte) error {
	c, err := o.f.signed(at, 8, "SNOD", "symbol table node")
	if err != nil {
		return err
	}
	c.skip(2)
	entries := c.uint(2)
	c, err = o.f.block(at+8, entries*uint64(2*o.f.width+24), "symbol table node")
	if err != nil {
		return err
	}
	for range entries {
		name, target, cache := c.uint(o.f.width), o.f.address(c), c.uint(4)
		c.skip(4 + 16)
		if name > uint64(len(names)) {
			return formatError("symbol table node at byte %d: name at %d of a heap of %d bytes", at, name, len(names))
		}
		if cache == 2 {
			continue // a soft link
		}
		text := names[name:]
		if end := bytes.IndexByte(text, 0); end >= 0 {
			text = text[:end]
		}
		if err := o.f.spend(int64(len(text))); err != nil {
			return err
		}
		if err := o.link(string(text), target); err != nil {
			return err
		}
	}
	return nil
}

// walkTree walks a B-tree of version 1 and calls leaf with every key and child of the
// lowest level. keyBytes is the size of a chunk's key; 0 stands for a tree of groups.
func (f *File) walkTree(at uint64, keyBytes int, leaf func(key []byte, child uint64) error) error {
	kind := uint64(1)
	if keyBytes == 0 {
		kind, keyBytes = 0, f.length
	}
	var walk func(at uint64, level int) error
	walk = func(at uint64, level int) error {
		c, err := f.signed(at, uint64(8+2*f.width), "TREE", "B-tree")
		if err != nil {
			return err
		}
		found, depth, entries := c.uint(1), int(c.uint(1)), c.uint(2)
		if found != kind || level >= 0 && depth != level {
			return formatError("B-tree at byte %d: node of type %d on level %d, want type %d, level %d", at, found, depth, kind, level)
		}
		c, err = f.block(at+uint64(8+2*f.width), entries*uint64(keyBytes+f.width), "B-tree")
		if err != nil {
			return err
		}
		for range entries {
			key, child := c.bytes(keyBytes), f.address(c)
			if depth > 0 {
				err = walk(child, depth-1)
			} else {
				err = leaf(key, child)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return walk(at, -1)
}

// Lookup returns the object at a path of names under a group.
func (o *Object) Lookup(path ...string) (*Object, error) {
	for _, name := range path {
		child, err := o.Child(name)
		if err != nil {
			return nil, err
		}
		o = child
	}
	return o, nil
}

// Sorted returns the names in a group in alphabetical order.
func (o *Object) Sorted() ([]string, error) {
	names, err := o.Names()
	return slices.Sorted(slices.Values(names)), err
}
