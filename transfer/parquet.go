package transfer

import (
	"context"
	"encoding/json"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/verydeep/vgg/internal/atomicfile"
)

// parquetRow is a row of a Parquet file of descriptors, in the form that vector databases and
// data frames read: the descriptor is a list of float32, the labels a list of names.
type parquetRow struct {
	File       string    `parquet:"file"`
	Labels     []string  `parquet:"labels,list"`
	Part       string    `parquet:"part,dict"`
	Error      string    `parquet:"error"`
	Descriptor []float32 `parquet:"descriptor,list,plain"`
}

// parquetGroupBytes is about how many bytes of numbers are in a row group.
const parquetGroupBytes = 32 << 20

// writeParquet writes the descriptors as Parquet, with the header as metadata vgg.descriptors.
// The descriptor of an unreadable image is an empty list.
func (d *Descriptors) writeParquet(ctx context.Context, path string) error {
	header, err := json.Marshal(d.Header)
	if err != nil {
		return err
	}
	return atomicfile.WriteOrStream(path, func(to io.Writer) error {
		w := parquet.NewGenericWriter[parquetRow](to, parquet.Compression(&zstd.Codec{}), parquet.KeyValueMetadata(metaHeader, string(header)))
		perGroup := max(1, parquetGroupBytes/(4*d.Header.Dim))
		var rows []parquetRow
		r := 0
		var failed error
		for piece := range d.chunks(ctx, &failed) {
			rows = rows[:0]
			for x := range slices.Chunk(piece, d.Header.Dim) {
				l := d.jsonLine(r, x)
				rows = append(rows, parquetRow{l.File, l.Labels, l.Part, l.Error, l.Descriptor})
				r++
			}
			if _, err := w.Write(rows); err != nil {
				return err
			}
			if r/perGroup > (r-len(rows))/perGroup {
				if err := w.Flush(); err != nil {
					return err
				}
			}
		}
		if failed != nil {
			return failed
		}
		return w.Close()
	})
}
