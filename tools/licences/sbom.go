package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// The types below are the part of an SPDX 2.3 document in JSON
// (https://spdx.github.io/spdx-spec/v2.3/) that tells what a Go program is made of.

type spdxDocument struct {
	Version       string             `json:"spdxVersion"`
	DataLicence   string             `json:"dataLicense"`
	ID            string             `json:"SPDXID"`
	Name          string             `json:"name"`
	Namespace     string             `json:"documentNamespace"`
	Creation      spdxCreation       `json:"creationInfo"`
	Packages      []spdxPackage      `json:"packages"`
	Relationships []spdxRelationship `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string          `json:"SPDXID"`
	Name             string          `json:"name"`
	Version          string          `json:"versionInfo,omitempty"`
	FileName         string          `json:"packageFileName,omitempty"`
	Purpose          string          `json:"primaryPackagePurpose"`
	Download         string          `json:"downloadLocation"`
	FilesAnalyzed    bool            `json:"filesAnalyzed"`
	LicenceConcluded string          `json:"licenseConcluded"`
	LicenceDeclared  string          `json:"licenseDeclared"`
	Copyright        string          `json:"copyrightText"`
	SourceInfo       string          `json:"sourceInfo,omitempty"`
	Checksums        []spdxChecksum  `json:"checksums,omitempty"`
	References       []spdxReference `json:"externalRefs"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxReference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const noAssertion = "NOASSERTION"

// billOfMaterials returns an SPDX document of the modules that Go wrote into a binary of any
// system, its standard library, and the works of others that lie in this module. The same
// binary gives the same bytes: the time is that of its commit, if it names one.
func billOfMaterials(binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; want a program that Go built", binary, err)
	}
	sum, err := checksum(binary)
	if err != nil {
		return nil, err
	}
	created := time.Unix(0, 0).UTC()
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if created, err = time.Parse(time.RFC3339, s.Value); err != nil {
				return nil, fmt.Errorf("%s: time of the commit: %w", binary, err)
			}
		}
	}
	name := filepath.Base(binary)
	d := spdxDocument{
		Version: "SPDX-2.3", DataLicence: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: "https://" + info.Main.Path + "/spdx/" + sum,
		Creation:  spdxCreation{created.UTC().Format(time.RFC3339), []string{"Tool: " + info.Main.Path + "/tools/licences"}},
	}
	program := spdxModule(info.Main)
	program.Purpose, program.FileName, program.LicenceDeclared = "APPLICATION", name, "Apache-2.0"
	program.SourceInfo = strings.Join(settings(info), " ")
	program.Checksums = []spdxChecksum{{"SHA256", sum}}
	d.Packages = append(d.Packages, program)
	d.Relationships = append(d.Relationships, spdxRelationship{d.ID, "DESCRIBES", program.ID})
	add := func(p spdxPackage, how string) {
		d.Packages = append(d.Packages, p)
		d.Relationships = append(d.Relationships, spdxRelationship{program.ID, how, p.ID})
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ") // behind a blank are experiments
	add(library("stdlib", version, "https://go.dev/dl/go"+version+".src.tar.gz", "pkg:golang/stdlib@"+version, "BSD-3-Clause"), "DEPENDS_ON")
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		add(spdxModule(*m), "DEPENDS_ON")
	}
	for _, v := range vendored {
		add(library(v.name, v.version, v.download, v.purl, v.licence), "CONTAINS")
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// spdxModule describes a module of Go. Its terms are in the file of licences, not asserted here.
func spdxModule(m debug.Module) spdxPackage {
	download := noAssertion
	purl := "pkg:golang/" + strings.ToLower(m.Path)
	if m.Version != "" && m.Version != "(devel)" {
		download = "https://proxy.golang.org/" + escaped(m.Path) + "/@v/" + escaped(m.Version) + ".zip"
		purl += "@" + strings.ReplaceAll(m.Version, "+", "%2B")
	}
	p := library(m.Path, m.Version, download, purl, noAssertion)
	if m.Sum != "" {
		p.SourceInfo = "go.sum " + m.Sum
	}
	return p
}

func library(name, version, download, purl, licence string) spdxPackage {
	return spdxPackage{
		ID: "SPDXRef-" + unfit.ReplaceAllString(name, "-"), Name: name, Version: version, Purpose: "LIBRARY", Download: download,
		LicenceConcluded: noAssertion, LicenceDeclared: licence, Copyright: noAssertion,
		References: []spdxReference{{"PACKAGE-MANAGER", "purl", purl}},
	}
}

// unfit matches what an identifier of SPDX may not have.
var unfit = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// escaped writes a module's path or version as the module proxy wants it: !a for A.
func escaped(s string) string {
	return regexp.MustCompile(`[A-Z]`).ReplaceAllStringFunc(s, func(c string) string { return "!" + strings.ToLower(c) })
}

// settings lists how a program was built.
func settings(info *debug.BuildInfo) []string {
	lines := []string{info.GoVersion}
	for _, s := range info.Settings {
		value := s.Value
		if strings.Contains(value, " ") {
			value = strconv.Quote(value)
		}
		lines = append(lines, s.Key+"="+value)
	}
	return lines
}

// checksum returns the SHA-256 of a file.
func checksum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), errors.Join(err, f.Close())
}
