package dataset

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/preprocess"
)

// RemoteOptions chooses how shards are read that lie on a server or in an object store.
type RemoteOptions struct {
	// CacheDir is the folder that keeps images which were read, for the next epoch and the next
	// run; "" for none. Several processes may use one.
	CacheDir string
	// CacheBytes is the most bytes in that folder; 0 keeps none.
	CacheBytes int64
	// OnRemark hears that the folder is full or can't be written; nil: nobody.
	OnRemark func(text string)
}

// openRemote opens the shards at addresses: with {000..127} as of files, and several joined
// by ::. Those whose folder, or whose name, is that of a part are that part.
func (s *search) openRemote(pattern string) (train, val *Dataset, err error) {
	name := remote.Plain(pattern)
	fail := func(format string, args ...any) (*Dataset, *Dataset, error) {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, fmt.Errorf(format, args...))
	}
	files, err := farFiles(s.ctx, pattern, s.remote)
	if err != nil {
		return fail("%w", err)
	}
	defer files.Rest()
	var parts [2][]string
	for _, n := range files.Names() {
		p := partOfShard(n)
		parts[p] = append(parts[p], n)
	}
	if len(parts[0]) == 0 { // a validation part alone
		parts[0], parts[1] = parts[1], nil
	}
	for _, p := range parts {
		if err := oneFolder(p, files.Address); err != nil {
			return fail("%w", err)
		}
	}
	if train, err = openShards(s, name, files, parts[0]); err != nil || len(parts[1]) == 0 {
		return train, nil, err
	}
	if val, err = openShards(s, name, files, parts[1]); err != nil {
		return nil, nil, err
	}
	if err := val.takeClasses(train.Classes); err != nil {
		return fail("%w", err)
	}
	train.part, val.part = partWords[0][0], partWords[1][0]
	return train, val, nil
}

// farFiles are the shards at the addresses of a pattern.
func farFiles(ctx context.Context, pattern string, o RemoteOptions) (*remote.FS, error) {
	var addresses []string
	for _, one := range remote.Split(pattern) {
		if !remote.IsAddress(one) {
			return nil, fmt.Errorf("%s is no address, want all of them on servers, or none", one)
		}
		plain, query, _ := strings.Cut(one, "?")
		_, rest, _ := strings.Cut(plain, "://")
		if host, path, _ := strings.Cut(rest, "/"); strings.Contains(host, "*") || strings.ContainsAny(path, "*[") { // a host may be [::1]
			return nil, errors.New("a pattern with * or [, by which a server isn't searched; want numbers, as train-{000000..000127}.tar")
		}
		names, err := expandBraces(plain)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if query != "" {
				n += "?" + query
			}
			addresses = append(addresses, n)
		}
	}
	files, err := remote.New(ctx, addresses, remote.Options{CacheDir: o.CacheDir, CacheBytes: o.CacheBytes, OnRemark: o.OnRemark})
	if err != nil {
		return nil, err
	}
	for _, n := range files.Names() {
		switch {
		case strings.EqualFold(path.Ext(n), shardExt):
		case isTar(n):
			return nil, fmt.Errorf("%s is compressed, and can't be read in part; want a plain tar file", files.Address(n))
		default:
			return nil, fmt.Errorf("%s, want tar files alone, which vgg shard makes", files.Address(n))
		}
	}
	return files, nil
}

// partOfShard returns 1 for a shard of the validation part, by its name or its folder's; else 0.
func partOfShard(name string) int {
	for _, word := range []string{path.Base(name), path.Base(path.Dir(name))} {
		for part := range 2 {
			if findPart([]string{word}, part) != "" {
				return part
			}
		}
	}
	return 0
}

// oneFolder returns an error for shards in several folders, whose classes might differ.
func oneFolder(shards []string, address func(string) string) error {
	for _, n := range shards {
		if path.Dir(n) != path.Dir(shards[0]) {
			return fmt.Errorf("shards in %s and in %s, want those of a part in one folder", path.Dir(address(shards[0])), path.Dir(address(n)))
		}
	}
	return nil
}

// remarkRefused notes the lists that count as missing since they aren't shown.
func (s *search) remarkRefused(far *farShards) {
	if far == nil {
		return
	}
	for _, n := range far.files.Refused() {
		if base := path.Base(n); base == classesTxt {
			s.note("%s isn't shown to us (403), as object stores answer for what isn't there: the classes are those in the shards", base)
		}
	}
}

// farShards reads shards on servers.
type farShards struct {
	files *remote.FS
	*ahead

	mu    sync.Mutex
	sums  map[string]string // SHA-256 of the images that were read last
	order []string          // of sums, from the oldest
}

func newFarShards(files *remote.FS) *farShards {
	return &farShards{files: files, ahead: newAhead(), sums: map[string]string{}}
}

// keptSums is the number of images whose SHA-256 is kept. A result file has it of each image,
// which isn't read again for it.
const keptSums = 1 << 16

// read returns an image's bytes, which may have been read ahead.
func (r *farShards) read(ctx context.Context, s *shardFS, name string) ([]byte, error) {
	data, err := r.take(ctx, name, func(ctx context.Context) ([]byte, error) { return r.fetch(ctx, s, name) })
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sums[name]; !ok {
		r.order = append(r.order, name)
		if len(r.order) > keptSums {
			delete(r.sums, r.order[0])
			r.order = r.order[1:]
		}
	}
	r.sums[name] = hex.EncodeToString(sum[:])
	return data, nil
}

// sum returns the SHA-256 of an image that was read lately; "" of another.
func (r *farShards) sum(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sums[name]
}

// fetch reads an image. One that arrives damaged is asked for once more.
func (r *farShards) fetch(ctx context.Context, s *shardFS, name string) ([]byte, error) {
	e := s.entries[name]
	if e.size > preprocess.MaxFileBytes { // also of an image that is read ahead
		return nil, s.entryError(name, preprocess.ErrFileTooLarge)
	}
	shard := s.shards[e.shard]
	data := make([]byte, tarBlock+e.size)
	for again := false; ; again = true {
		if err := r.files.ReadRange(ctx, shard, data, e.offset-tarBlock); err != nil {
			if remote.Failed(err) {
				return nil, err
			}
			return nil, s.entryError(name, err)
		}
		err := s.checkEntry(data, e)
		if err == nil {
			return data[tarBlock:], nil
		}
		r.files.Forget(shard, e.offset-tarBlock)
		if again {
			return nil, s.entryError(name, err)
		}
	}
}

// scanBytes is what is asked for at once of a shard without an index.
const scanBytes = 8 << 20

// scan reads a shard from end to end, since it has no index.
func (r *farShards) scan(search *search, shard string, t *tarFile) ([]shardSample, error) {
	search.mu.Lock()
	if !search.scanned {
		search.scanned = true
		if f := search.remote.OnRemark; f != nil {
			f(fmt.Sprintf("%s has no index beside it that fits: it is read from end to end first, as are others like it; vgg shard --reindex makes them", r.files.Address(shard)))
		}
	}
	search.mu.Unlock()
	return scanShard(search, newBlockReader(search.ctx, r.files, shard, t.size))
}

// blockReader reads a file in large blocks.
type blockReader struct {
	*io.SectionReader
}

func newBlockReader(ctx context.Context, files *remote.FS, name string, size int64) *blockReader {
	return &blockReader{io.NewSectionReader(&blocks{ctx: ctx, files: files, name: name, size: size}, 0, size)}
}

// blocks keeps the block that was read last.
type blocks struct {
	ctx   context.Context
	files *remote.FS
	name  string
	size  int64
	at    int64
	block []byte
}

// ReadAt implements [io.ReaderAt]. Its calls must not be concurrent.
func (b *blocks) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		from := off + int64(n)
		if from >= b.size {
			return n, io.EOF
		}
		if from < b.at || from >= b.at+int64(len(b.block)) {
			block := make([]byte, min(scanBytes, b.size-from))
			if err := b.files.ReadPart(b.ctx, b.name, block, from); err != nil {
				return n, err
			}
			b.at, b.block = from, block
		}
		n += copy(p[n:], b.block[from-b.at:])
	}
	return n, nil
}

// errPacked is of a compressed shard on a server.
var errPacked = errors.New("compressed, and so can't be read in part; want a plain tar file")

// checkPlain returns an error if a file is compressed, whatever its name.
func checkPlain(r io.Reader) error {
	head, err := bufio.NewReaderSize(r, 16).Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if packingOf(head) != nil {
		return errPacked
	}
	return nil
}
