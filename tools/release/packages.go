package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// packages writes the packages as goreleaser does, with the library that it uses.
func packages(o options, p config.Project) error {
	c := p.NFPMs[0]
	bin := c.Bindir
	if bin == "" {
		bin = "/usr/bin"
	}
	contents := files.Contents{{Source: o.binary, Destination: path.Join(bin, p.Builds[0].Binary), FileInfo: &files.ContentFileInfo{Mode: 0o755}}}
	for _, f := range c.Contents {
		contents = append(contents, &files.Content{Source: f.Source, Destination: f.Destination, Type: f.Type, Packager: f.Packager, FileInfo: &files.ContentFileInfo{Mode: f.FileInfo.Mode}})
	}
	for _, format := range c.Formats {
		info := nfpm.WithDefaults(&nfpm.Info{
			Name: c.PackageName, Arch: o.arch, Platform: "linux", Version: o.version, Section: c.Section, Priority: c.Priority,
			Maintainer: c.Maintainer, Description: c.Description, Vendor: c.Vendor, Homepage: c.Homepage, License: c.License,
			Overridables: nfpm.Overridables{
				Contents: contents, Depends: c.Dependencies, Recommends: c.Recommends, Suggests: c.Suggests, Conflicts: c.Conflicts, Provides: c.Provides,
			},
		})
		if err := nfpm.PrepareForPackager(info, format); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
		packager, err := nfpm.Get(format)
		if err != nil {
			return err
		}
		name := filepath.Join(o.out, packager.ConventionalFileName(info))
		if err := writeTo(name, func(f *os.File) error { return packager.Package(info, f) }); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
		fmt.Println(name)
	}
	return nil
}

// writeTo makes a file by write, and leaves none if that fails.
func writeTo(name string, write func(*os.File) error) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		os.Remove(name)
		return err
	}
	return f.Close()
}
