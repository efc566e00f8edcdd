package comm

import "context"

// Gather returns the bytes that every rank calls it with, by rank.
func Gather(ctx context.Context, g Group, mine []byte) ([][]byte, error) {
	all := make([][]byte, g.Size())
	for rank := range all {
		var err error
		if all[rank], err = Share(ctx, g, rank, mine); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Share returns the bytes of rank root to every rank; those of the others are not heeded.
func Share(ctx context.Context, g Group, root int, data []byte) ([]byte, error) {
	head := []float32{float32(len(data) >> 16), float32(len(data) & 0xffff)}
	if err := g.Broadcast(ctx, root, head); err != nil {
		return nil, err
	}
	// A value carries two bytes: every number of 16 bits is a float32.
	n := int(head[0])<<16 | int(head[1])
	values := make([]float32, (n+1)/2)
	if g.Rank() == root {
		for i, b := range data {
			values[i/2] += float32(int(b) << (8 * (i % 2)))
		}
	}
	if err := g.Broadcast(ctx, root, values); err != nil {
		return nil, err
	}
	if g.Rank() == root {
		return data, nil
	}
	data = make([]byte, n)
	for i := range data {
		data[i] = byte(int(values[i/2]) >> (8 * (i % 2)))
	}
	return data, nil
}
