package weights

import (
	"context"
	"io"
)

// readAtOnce is the most bytes that are read between two looks at the context.
const readAtOnce = 1 << 20

// readerUntil is a reader whose error is the context's cause once the context is done.
type readerUntil struct {
	ctx  context.Context
	from io.ReaderAt
}

// ReadAt implements [io.ReaderAt].
func (u readerUntil) ReadAt(b []byte, at int64) (n int, err error) {
	for {
		if u.ctx.Err() != nil {
			return n, context.Cause(u.ctx)
		}
		part := b[n:min(len(b), n+readAtOnce)]
		k, err := u.from.ReadAt(part, at+int64(n))
		n += k
		if err != nil || k < len(part) || n == len(b) {
			return n, err
		}
	}
}

// untilDone is readerUntil of what is read from its beginning to its end.
type untilDone struct {
	ctx  context.Context
	from io.Reader
}

// Read implements [io.Reader].
func (u untilDone) Read(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.from.Read(b[:min(len(b), readAtOnce)])
}
