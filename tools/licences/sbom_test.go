package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// The bill of materials of a program has what go version -m lists of it.
func TestBillOfMaterials(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	binary := filepath.Join(t.TempDir(), "service")
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, "../../examples/service").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	text, err := billOfMaterials(binary)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := billOfMaterials(binary); err != nil || !bytes.Equal(again, text) {
		t.Errorf("another time it differs, or fails: %v", err)
	}
	var d spdxDocument
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}

	listed, err := exec.Command("go", "version", "-m", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"uplot 1.6.32"}
	for i, line := range strings.Split(string(listed), "\n") {
		fields := strings.Fields(line)
		switch {
		case i == 0: // FILE: go1.26.1
			want = append(want, "stdlib "+strings.TrimPrefix(fields[1], "go"))
		case len(fields) > 2 && (fields[0] == "mod" || fields[0] == "dep"):
			want = append(want, fields[1]+" "+fields[2])
		}
	}
	var got, ids []string
	for _, p := range d.Packages {
		got, ids = append(got, p.Name+" "+p.Version), append(ids, p.ID)
		if p.Download == "" || len(p.References) != 1 || !strings.HasPrefix(p.References[0].Locator, "pkg:") {
			t.Errorf("%s: download %q, references %v, want some", p.Name, p.Download, p.References)
		}
		if !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(p.ID) {
			t.Errorf("%s: identifier %q", p.Name, p.ID)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(want) < 4 {
		t.Errorf("packages\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// Each package is told of once, and by one relationship.
	related := make([]string, 0, len(d.Relationships))
	for _, r := range d.Relationships {
		if r.From != d.ID && r.From != ids[0] {
			t.Errorf("relationship %v is of neither the document nor the program", r)
		}
		related = append(related, r.To)
	}
	if !slices.Equal(related, ids) || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
		t.Errorf("relationships to %q, want one to each of %q", related, ids)
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if c := d.Packages[0].Checksums; len(c) != 1 || c[0].Value != hex.EncodeToString(sum[:]) {
		t.Errorf("checksums %v, want %x", c, sum)
	}
}

func TestBillOfMaterialsOfOtherFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(file, []byte("no program"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, file + ".none"} {
		if _, err := billOfMaterials(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that names it", path, err)
		}
	}
}

// The proxy's spelling is that of https://go.dev/ref/mod#goproxy-protocol.
func TestEscaped(t *testing.T) {
	if got := escaped("github.com/AlekSi/pointer"); got != "github.com/!alek!si/pointer" {
		t.Error(got)
	}
}
