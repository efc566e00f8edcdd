package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

// nobody is the user that the image's program runs as.
const nobody = 65532

// image writes an image that holds the program, the certificates that downloads need, a /tmp
// and a /work, and nothing else, in the form that docker load and podman load read. The same
// input gives the same bytes.
func image(o options, p config.Project) error {
	layer, err := imageLayer(o, p.Builds[0].Binary)
	if err != nil {
		return err
	}
	added, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, added)
	if err != nil {
		return err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", o.arch, v1.Time{Time: epoch}
	file.Config = v1.Config{
		Entrypoint: []string{"/" + p.Builds[0].Binary}, Cmd: []string{"--help"}, WorkingDir: "/work", User: fmt.Sprint(nobody),
		Env: []string{"SSL_CERT_FILE=/" + rootsFile, "HOME=/work"},
		Labels: map[string]string{
			"org.opencontainers.image.version": o.version, "org.opencontainers.image.licenses": p.NFPMs[0].License,
			"org.opencontainers.image.source": p.NFPMs[0].Homepage,
		},
	}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return err
	}
	tag, err := name.NewTag("verydeep/vgg:" + o.version)
	if err != nil {
		return err
	}
	return writeTo(o.out, func(f *os.File) error { return tarball.Write(tag, img, f) })
}

const rootsFile = "etc/ssl/certs/ca-certificates.crt"

var epoch = time.Unix(0, 0).UTC()

// imageLayer returns the image's files as a tar file.
func imageLayer(o options, program string) ([]byte, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(h tar.Header, data []byte) error {
		h.Size, h.ModTime, h.Format = int64(len(data)), epoch, tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	for _, folder := range []tar.Header{
		{Name: "etc/", Mode: 0o755}, {Name: "etc/ssl/", Mode: 0o755}, {Name: "etc/ssl/certs/", Mode: 0o755},
		{Name: "tmp/", Mode: 0o1777}, {Name: "work/", Mode: 0o755, Uid: nobody, Gid: nobody}, {Name: "licences/", Mode: 0o755},
	} {
		folder.Typeflag = tar.TypeDir
		if err := add(folder, nil); err != nil {
			return nil, err
		}
	}
	for _, file := range []struct {
		from, to string
		mode     int64
	}{
		{o.binary, program, 0o755}, {o.roots, rootsFile, 0o644}, {"LICENSE", "licences/LICENSE", 0o644},
		{"release-documents/THIRD_PARTY_LICENSES", "licences/THIRD_PARTY_LICENSES", 0o644},
	} {
		data, err := os.ReadFile(file.from)
		if err != nil {
			return nil, err
		}
		if err := add(tar.Header{Typeflag: tar.TypeReg, Name: file.to, Mode: file.mode}, data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return layer.Bytes(), nil
}
