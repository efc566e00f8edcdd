// Package pull downloads the public releases of VGG weights, checks them against their
// published hashes, and keeps them, converted once, in a folder.
package pull

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/releases"
)

// Options chooses where releases come from and where they go.
type Options struct {
	// Dir is the folder that keeps them; see [DefaultDir].
	Dir string
	// Mirror, unless empty, replaces scheme and host of every address; the path follows it:
	// https://mirror.example/weights/models/vgg16-397923af.pth.
	Mirror string
	// Offline makes it an error to need a release that the folder doesn't have.
	Offline bool
	// Client makes the requests; nil for one that uses the environment's proxies.
	Client *http.Client
	// Idle is the longest that the server may send nothing before the attempt counts as broken;
	// 0 for a minute. An attempt that got further is followed by another.
	Idle time.Duration
	// OnStage, where set, is called at the beginning of each stage, "downloading",
	// "checking" and "converting", and returns what is told the stage's progress: bytes, of
	// the conversion values.
	OnStage func(stage string) progress.Func
}

// DefaultDir returns vgg in the user's cache directory: on linux $XDG_CACHE_HOME/vgg, or
// ~/.cache/vgg.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("releases: cache directory: %w", err)
	}
	return filepath.Join(dir, "vgg"), nil
}

// Path returns the file in which a folder keeps a release.
func Path(dir string, r releases.Release) string {
	return filepath.Join(dir, r.FullName()+"-"+r.Source+".safetensors")
}

// HeldError is the error for a release that another process is downloading: Path is its
// file, and PID the process, 0 if not known.
type HeldError = lockfile.HeldError

// Release returns the path of a release in the folder, a file that [vgg.Open] opens. A
// release that isn't there is downloaded, from where an earlier attempt stopped, checked
// and converted, and only then put there under its name. A file with a wrong hash is
// removed.
func Release(ctx context.Context, r releases.Release, o Options) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("releases: %s of %s: %w", r.FullName(), r.Source, err)
	}
	path := Path(o.Dir, r)
	downloads := filepath.Join(o.Dir, "downloads")
	file := filepath.Join(downloads, filepath.Base(r.File))
	if _, err := os.Stat(path); err == nil {
		clean(file)
		return path, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	if o.Offline {
		return fail(fmt.Errorf("not in %s, and no download is allowed offline", o.Dir))
	}
	address, err := addressed(r.URL, o.Mirror)
	if err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(downloads, 0o777); err != nil {
		return fail(err)
	}
	d := download{
		address: address, part: file + partSuffix, client: o.client(), progress: o.stage("downloading"),
		idle: cmp.Or(o.Idle, time.Minute),
	}
	unlock, err := lockfile.Beside(file)
	if err != nil {
		return fail(err)
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil { // another process has just ended
		return path, nil
	}
	sum, err := o.fetch(ctx, d, file, r)
	if err != nil {
		return fail(err)
	}
	if err := convert(ctx, file, path, sum, r, o.stage("converting")); err != nil {
		return fail(err)
	}
	return path, os.Remove(file)
}

// fetch puts the release into file, unless an attempt that was killed while it converted has
// left it there, and returns its SHA-256.
func (o Options) fetch(ctx context.Context, d download, file string, r releases.Release) (sum string, err error) {
	hashed := r.SHA256 != "" || r.MD5 != ""
	if _, err := os.Stat(file); err == nil && hashed {
		sum, err := check(ctx, file, r, o.stage("checking"))
		if _, wrong := errors.AsType[*hashError](err); !wrong {
			d.discard()
			return sum, err
		}
	}
	if err := d.run(ctx, hashed); err != nil {
		return "", err
	}
	if sum, err = check(ctx, d.part, r, o.stage("checking")); err != nil {
		return "", err
	}
	// The name helps to identify the release.
	if err := atomicfile.Rename(d.part, file); err != nil {
		return "", err
	}
	d.forget()
	return sum, nil
}

// clean removes what a process left behind that was killed when the release had its name.
// Whatever hinders it, the release is there.
func clean(file string) {
	left := []string{file, file + partSuffix, file + partSuffix + originSuffix}
	if !slices.ContainsFunc(append(left, file+lockfile.Suffix), func(name string) bool {
		_, err := os.Lstat(name)
		return err == nil
	}) {
		return
	}
	release, err := lockfile.Beside(file)
	if err != nil {
		return // a process is writing
	}
	defer release()
	for _, name := range left {
		_ = os.Remove(name)
	}
}

func (o Options) client() *http.Client {
	if o.Client != nil {
		return o.Client
	}
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}
}

// stage begins a stage and returns what its progress is reported to.
func (o Options) stage(name string) progress.Func {
	if o.OnStage != nil {
		if report := o.OnStage(name); report != nil {
			return report
		}
	}
	return func(_, _ int64) {}
}

// addressed replaces the official host by a mirror.
func addressed(address, mirror string) (string, error) {
	if mirror == "" {
		return address, nil
	}
	m, err := url.Parse(mirror)
	if err != nil || m.Host == "" || m.Scheme != "http" && m.Scheme != "https" {
		return "", fmt.Errorf("mirror %q, want an address that begins with http:// or https://", mirror)
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	return m.JoinPath(u.Path).String(), nil
}

// hashError is the error for a file that isn't the release.
type hashError struct{ name, got, want string }

func (e *hashError) Error() string {
	return fmt.Sprintf("the download's %s is %s, want %s: it was removed", e.name, e.got, e.want)
}

// check compares the file's hash with the published one, and removes it if it differs.
// It returns the SHA-256.
func check(ctx context.Context, path string, r releases.Release, report progress.Func) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	sha, old := sha256.New(), md5.New()
	var hashes []io.Writer = []io.Writer{sha}
	if r.MD5 != "" {
		hashes = append(hashes, old)
	}
	buf := make([]byte, 1<<20)
	for done := int64(0); ; {
		n, err := f.Read(buf)
		_, _ = io.MultiWriter(hashes...).Write(buf[:n]) // a hash takes everything
		done += int64(n)
		report(done, info.Size())
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
	}
	hexOf := func(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
	for _, c := range []struct{ name, got, want string }{{"SHA-256", hexOf(sha), r.SHA256}, {"MD5", hexOf(old), r.MD5}} {
		if c.want == "" || strings.HasPrefix(c.got, strings.ToLower(c.want)) {
			continue
		}
		f.Close()
		if err := os.Remove(path); err != nil {
			return "", err
		}
		return "", &hashError{c.name, c.got[:len(c.want)], c.want}
	}
	return hexOf(sha), nil
}

// convert writes a release as a native file.
func convert(ctx context.Context, from, to, sum string, r releases.Release, report progress.Func) error {
	spec, err := json.Marshal(r.Preprocess)
	if err != nil {
		return err
	}
	m, err := vgg.Open(ctx, from, vgg.OpenOptions{Preprocess: string(spec), Headless: r.Headless, Progress: report})
	if err != nil {
		return err
	}
	m.Provenance["release"] = r.Source + " " + r.FullName()
	m.Provenance["licence"] = r.Licence
	m.Provenance["url"] = r.URL
	m.Provenance["sha256"] = sum
	return m.Save(ctx, to)
}
