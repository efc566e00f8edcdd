// Command release makes, of a binary that exists, what a release has beside archives, by the
// same .goreleaser.yaml:
//
//	release check                                           # the file is one that goreleaser reads
//	release packages -version 1.2.3 -binary vgg -out DIR    # the .deb and the .rpm
//	release image -version 1.2.3 -binary vgg -out image.tar # a container image, made without a daemon
//
// It runs in the root of the repository. The module is one of its own, so that vgg doesn't
// depend on what it needs.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

// options are the flags of all commands.
type options struct {
	config, version, arch, binary, out, roots string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	commands := map[string]func(options, config.Project) error{
		"check":    func(_ options, p config.Project) error { return check(p) },
		"packages": packages,
		"image":    image,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return fmt.Errorf("want one of check, packages, image, and its flags")
	}
	var o options
	f := flag.NewFlagSet(args[0], flag.ExitOnError)
	f.StringVar(&o.config, "config", ".goreleaser.yaml", "goreleaser's configuration")
	f.StringVar(&o.version, "version", "", "version without v")
	f.StringVar(&o.arch, "arch", runtime.GOARCH, "architecture of the binary, by Go's name")
	f.StringVar(&o.binary, "binary", "", "the program for Linux, linked statically")
	f.StringVar(&o.out, "out", "", "folder of the packages, or file of the image")
	f.StringVar(&o.roots, "roots", "/etc/ssl/certs/ca-certificates.crt", "certificates that the image trusts")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] != "check" {
		for name, value := range map[string]string{"version": o.version, "binary": o.binary, "out": o.out} {
			if value == "" {
				return fmt.Errorf("%s: -%s is missing", args[0], name)
			}
		}
	}
	// Load refuses keys that goreleaser doesn't know.
	project, err := config.Load(o.config)
	if err != nil {
		return fmt.Errorf("%s: %w", o.config, err)
	}
	if err := check(project); err != nil {
		return fmt.Errorf("%s: %w", o.config, err)
	}
	return commands[args[0]](o, project)
}

// check reports what of a release the configuration lacks.
func check(p config.Project) error {
	if len(p.Builds) != 1 || len(p.NFPMs) != 1 || len(p.Archives) != 1 {
		return fmt.Errorf("%d builds, %d nfpms and %d archives, want one of each", len(p.Builds), len(p.NFPMs), len(p.Archives))
	}
	for _, want := range []struct {
		what string
		got  []string
		all  []string
	}{
		{"goos", p.Builds[0].Goos, []string{"linux", "darwin", "windows"}},
		{"goarch", p.Builds[0].Goarch, []string{"amd64", "arm64"}},
		{"formats of nfpms", p.NFPMs[0].Formats, []string{"deb", "rpm"}},
	} {
		for _, one := range want.all {
			if !slices.Contains(want.got, one) {
				return fmt.Errorf("%s: %v, want %v", want.what, want.got, want.all)
			}
		}
	}
	return nil
}
