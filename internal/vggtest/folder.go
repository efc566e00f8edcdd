package vggtest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// folders says where the packed folders of fixtures are unpacked in this process, by the
// absolute path of the folder.
var folders struct {
	sync.Mutex
	root string
	at   map[string]string
}

// Fixture returns where a fixture is: a file or folder of this checkout, with slashes. What
// is in a packed folder, DIR.tar.zst of tools/oracle/pack.py, is unpacked once in each
// process, and removed when its tests have run. Tests change nothing in it.
func Fixture(t testing.TB, name string) string {
	t.Helper()
	name = filepath.FromSlash(name)
	for dir := name; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir + packed); err != nil {
			continue
		}
		at, err := unpacked(dir)
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(at, strings.TrimPrefix(name, dir))
	}
	return name
}

// packed is what the name of a packed folder ends with.
const packed = ".tar.zst"

// unpacked returns where a packed folder is unpacked.
func unpacked(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	folders.Lock()
	defer folders.Unlock()
	if at, ok := folders.at[dir]; ok {
		return at, nil
	}
	if _, err := os.Stat(dir); err == nil {
		return "", fmt.Errorf("%s is there beside its archive: python3 tools/oracle/pack.py pack %s", dir, dir)
	}
	if folders.root == "" {
		if folders.root, err = os.MkdirTemp("", "vggtest"); err != nil {
			return "", err
		}
		folders.at = map[string]string{}
	}
	at := filepath.Join(folders.root, fmt.Sprint(len(folders.at)), filepath.Base(dir))
	if err := unpack(dir+packed, at); err != nil {
		return "", err
	}
	folders.at[dir] = at
	return at, nil
}

// unpack writes the files of an archive into the folder at.
func unpack(archive, at string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", archive, err)
		}
		path := filepath.Join(at, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", archive, h.Name, err)
		}
		if err := os.WriteFile(path, data, fs.FileMode(0o644)); err != nil {
			return err
		}
	}
}

// removeFolders removes what this process unpacked.
func removeFolders() error {
	folders.Lock()
	defer folders.Unlock()
	if folders.root == "" {
		return nil
	}
	err := os.RemoveAll(folders.root)
	folders.root, folders.at = "", nil
	return err
}
