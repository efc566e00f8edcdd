package dataset

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// Greatest ratios of unpacked to packed bytes that a format can reach, beyond its headers.
const (
	snappyRatio  = 32
	lz4Ratio     = 255
	packedHeader = 64
)

// checkChunk is checkPages of all pages of a column in a row group.
func (p *parquetFile) checkChunk(g *format.RowGroup, leaf *parquet.Column) error {
	meta, err := chunkMeta(g, leaf.Index())
	if err != nil {
		return err
	}
	s := chunkSpan(meta)
	if s.begin < 4 || s.end < s.begin || s.end > p.size {
		return fmt.Errorf("parquet: bytes %d to %d of a file of %d", s.begin, s.end, p.size)
	}
	return checkPages(p.r, meta, s)
}

// heldPages are parts of a file in memory.
type heldPages []heldPage

type heldPage struct {
	span
	data []byte
}

// hold reads the pages within spans of the file.
func (p *parquetFile) hold(spans ...span) (heldPages, error) {
	var held heldPages
	for _, s := range spans {
		data := make([]byte, s.end-s.begin)
		if _, err := p.r.ReadAt(data, s.begin); err != nil && len(data) > 0 {
			return nil, err
		}
		held = append(held, heldPage{s, data})
	}
	return held, nil
}

// ReadAt implements [io.ReaderAt], within one of the parts.
func (h heldPages) ReadAt(b []byte, at int64) (int, error) {
	for _, part := range h {
		if at >= part.begin && at < part.end {
			n := copy(b, part.data[at-part.begin:])
			if n < len(b) {
				return n, io.EOF
			}
			return n, nil
		}
	}
	return 0, io.EOF
}

// chunkSpan returns where the pages of a column in a row group lie.
func chunkSpan(meta *format.ColumnMetaData) span {
	at := meta.DataPageOffset
	if d := meta.DictionaryPageOffset; d != 0 {
		at = d
	}
	return span{at, at + meta.TotalCompressedSize}
}

// checkPages unpacks the pages of a column within a span of the file, for the library that
// reads them takes memory before it knows what they hold: of a damaged LZ4 page more and more
// without end, of the others as much as comes.
func checkPages(r io.ReaderAt, meta *format.ColumnMetaData, s span) error {
	var header thrift.CompactProtocol
	values := int64(0)
	for at := s.begin; at < s.end && values < meta.NumValues; {
		h, n, err := pageHeader(r, &header, at, s.end)
		if err != nil {
			return fmt.Errorf("page at byte %d: %w", at, err)
		}
		packed, size := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
		next := at + n + packed
		if packed < 0 || next > s.end || size < 0 || size > maxParquetPage {
			return fmt.Errorf("parquet: page at byte %d of %d bytes, unpacked %d", at, packed, size)
		}
		data := make([]byte, packed)
		if _, err := r.ReadAt(data, at+n); err != nil && len(data) > 0 {
			return err
		}
		compressed := true
		switch {
		case h.Type == format.DataPage && h.DataPageHeader.Valid:
			values += int64(h.DataPageHeader.V.NumValues)
		case h.Type == format.DataPageV2 && h.DataPageHeaderV2.Valid:
			v2 := h.DataPageHeaderV2.V
			values += int64(v2.NumValues)
			levels := int64(v2.RepetitionLevelsByteLength) + int64(v2.DefinitionLevelsByteLength) // never compressed
			if v2.RepetitionLevelsByteLength < 0 || v2.DefinitionLevelsByteLength < 0 || levels > packed || levels > size {
				return fmt.Errorf("parquet: page at byte %d of %d bytes has %d bytes of levels", at, packed, levels)
			}
			data, size = data[levels:], size-levels
			compressed = !v2.IsCompressed.Valid || v2.IsCompressed.V
		}
		if compressed {
			if err := unpacksTo(meta.Codec, data, size); err != nil {
				return fmt.Errorf("parquet: page at byte %d: %w", at, err)
			}
		}
		at = next
	}
	return nil
}

// unpacksTo returns an error unless data are size bytes, packed by a codec.
func unpacksTo(codec format.CompressionCodec, data []byte, size int64) error {
	ratio := map[format.CompressionCodec]int64{format.Snappy: snappyRatio, format.Lz4Raw: lz4Ratio}[codec]
	if ratio > 0 && size > ratio*int64(len(data))+packedHeader {
		return fmt.Errorf("%d bytes can't unpack to %d", len(data), size)
	}
	var r io.Reader
	var err error
	switch codec {
	case format.Snappy:
		n, err := snappy.DecodedLen(data)
		if err == nil && int64(n) != size {
			err = fmt.Errorf("unpacks to %d bytes, want %d", n, size)
		}
		return err
	case format.Lz4Raw:
		n, err := lz4.UncompressBlock(data, make([]byte, size))
		if err != nil || int64(n) != size {
			err = errors.Join(fmt.Errorf("damaged, want LZ4 of %d bytes", size), err)
		}
		return err
	case format.Gzip:
		r, err = gzip.NewReader(bytes.NewReader(data))
	case format.Zstd:
		z, zErr := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if zErr == nil {
			defer z.Close()
		}
		r, err = z, zErr
	case format.Brotli:
		r = brotli.NewReader(bytes.NewReader(data))
	default: // not packed, or the library knows no such codec
		return nil
	}
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(r, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("unpacks to at least %d bytes, want %d", n, size)
	}
	return err
}
