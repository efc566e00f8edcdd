package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// Every module that is linked into the program has its terms in the file.
func TestThirdPartyLicences(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	got, err := collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nThe Go programming language and its standard library\n", "\ngithub.com/alecthomas/kong ", "\ngonum.org/v1/plot ",
		"\ngithub.com/golang/freetype v0.0.0-20170609003504-e2365dfdc4a0: licenses/ftl.txt\n", "SIL OPEN FONT LICENSE",
		"Redistribution and use in source and binary forms", "Apache License",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestLicencesOfAModule(t *testing.T) {
	m := module{Path: "example.org/m", Version: "v1.0.0", Dir: t.TempDir()}
	files := map[string][]byte{
		"LICENSE": []byte("all"), "inner/a/LICENSE.txt": []byte("a"), "inner/b/NOTICE": []byte("b"),
		"inner/a/a.go": nil, "inner/license.go": nil, "COPYING": []byte("more"), "licenses/x.txt": []byte("x"),
	}
	vggtest.WriteFiles(t, m.Dir, files)
	got, err := m.licences(map[string]bool{filepath.Join(m.Dir, "inner", "a"): true, m.Dir: true})
	if want := []string{"COPYING", "LICENSE", filepath.Join("licenses", "x.txt"), filepath.Join("inner", "a", "LICENSE.txt")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	bare := module{Path: "example.org/bare", Version: "v1.0.0", Dir: t.TempDir()}
	if _, err := bare.licences(map[string]bool{bare.Dir: true}); err == nil || !strings.Contains(err.Error(), "example.org/bare v1.0.0 has no file of its licence") {
		t.Errorf("without a licence: %v", err)
	}
}
