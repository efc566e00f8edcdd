// Package releases downloads the public releases of VGG weights, checks them against
// their published hashes, and keeps them, converted once, in a folder.
package releases

import (
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
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/lockfile"
)

// Options say where releases come from and where they go.
type Options struct {
	// Dir is the folder that keeps them; see [DefaultDir].
	Dir string
	// Mirror, where it is not empty, replaces scheme and host of every address, and stands
	// before its path: https://mirror.example/weights/models/vgg16-397923af.pth.
	Mirror string
	// Offline makes it an error to need what the folder doesn't have.
	Offline bool
	// Client makes the requests; nil: one that heeds the proxies of the environment.
	Client *http.Client
	// OnProgress, where set, is told how many bytes of the total are done in a stage:
	// "downloading", "checking", "converting" (of which only the beginning is told).
	OnProgress func(stage string, done, total int64)
}

// DefaultDir is vgg in the user's cache directory: on linux $XDG_CACHE_HOME/vgg, or
// ~/.cache/vgg.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("releases: cache directory: %w", err)
	}
	return filepath.Join(dir, "vgg"), nil
}

// featuresSuffixes mark the name of a release without a classifier.
var featuresSuffixes = []string{"-features", "_features", "-notop", "_notop"}

// Find returns the release of a configuration from a source: torchvision, keras or caffe.
// The name is a configuration's, as D or vgg16_bn; with -features behind it that of a
// release without a classifier.
func Find(name, source string) (vgg.Release, error) {
	config, headless := name, false
	for _, s := range featuresSuffixes {
		if c, ok := strings.CutSuffix(name, s); ok {
			config, headless = c, true
		}
	}
	canonical, err := vgg.CanonicalConfig(config)
	if err != nil {
		return vgg.Release{}, err
	}
	var names []string
	for _, r := range vgg.Releases() {
		if r.Source != source {
			continue
		}
		if r.Name == canonical && r.Headless == headless {
			return r, nil
		}
		names = append(names, Name(r))
	}
	if names == nil {
		return vgg.Release{}, fmt.Errorf("releases: source %q, want torchvision, keras or caffe", source)
	}
	return vgg.Release{}, fmt.Errorf("releases: no release of %s by %s, want one of %s", name, source, strings.Join(names, ", "))
}

// Name is the release's name, as [Find] takes it.
func Name(r vgg.Release) string {
	if r.Headless {
		return r.Name + "-features"
	}
	return r.Name
}

// Path is where a folder keeps a release, once it is converted.
func Path(dir string, r vgg.Release) string {
	return filepath.Join(dir, Name(r)+"-"+r.Source+".safetensors")
}

// HeldError is the error for a release that another process is downloading.
type HeldError = lockfile.HeldError

// Pull returns the path of a release in the folder, as a file that [vgg.Open] opens. What
// isn't there is downloaded, going on where an earlier attempt stopped, checked,
// converted, and only then put there under its name. A file whose hash is wrong is
// removed.
func Pull(ctx context.Context, r vgg.Release, o Options) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("releases: %s of %s: %w", Name(r), r.Source, err)
	}
	path := Path(o.Dir, r)
	if _, err := os.Stat(path); err == nil {
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
	downloads := filepath.Join(o.Dir, "downloads")
	if err := os.MkdirAll(downloads, 0o777); err != nil {
		return fail(err)
	}
	file := filepath.Join(downloads, filepath.Base(r.File))
	d := download{address: address, part: file + ".part", client: o.client(), progress: o.progress}
	release, err := lockfile.Beside(file)
	if err != nil {
		return fail(err)
	}
	defer release()
	if _, err := os.Stat(path); err == nil { // another process has just ended
		return path, nil
	}
	if err := d.run(ctx, r.SHA256 != "" || r.MD5 != ""); err != nil {
		return fail(err)
	}
	sum, err := check(ctx, d.part, r, o.progress)
	if err != nil {
		return fail(err)
	}
	// Its name is part of what it is known by.
	if err := atomicfile.Rename(d.part, file); err != nil {
		return fail(err)
	}
	d.forget()
	o.progress("converting", 0, 0)
	if err := convert(file, path, sum, r); err != nil {
		return fail(err)
	}
	return path, os.Remove(file)
}

func (o Options) client() *http.Client {
	if o.Client != nil {
		return o.Client
	}
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}
}

func (o Options) progress(stage string, done, total int64) {
	if o.OnProgress != nil {
		o.OnProgress(stage, done, total)
	}
}

// addressed puts a mirror in the place of the official host.
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

// check compares the file's hash with the published one, and removes it if it differs.
// It returns the SHA-256.
func check(ctx context.Context, path string, r vgg.Release, progress func(string, int64, int64)) (string, error) {
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
		progress("checking", done, info.Size())
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
		return "", fmt.Errorf("the download's %s is %s, want %s: it was removed", c.name, c.got[:len(c.want)], c.want)
	}
	return hexOf(sha), nil
}

// convert writes a release as a native file.
func convert(from, to, sum string, r vgg.Release) error {
	spec, err := json.Marshal(r.Preprocess)
	if err != nil {
		return err
	}
	m, err := vgg.OpenWith(from, vgg.OpenOptions{Preprocess: string(spec), Headless: r.Headless})
	if err != nil {
		return err
	}
	m.Provenance["release"] = r.Source + " " + Name(r)
	m.Provenance["licence"] = r.Licence
	m.Provenance["url"] = r.URL
	m.Provenance["sha256"] = sum
	return m.Save(to)
}
