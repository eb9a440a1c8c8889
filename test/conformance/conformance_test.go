// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const ginkgoReport = `[{"SpecReports": [
	{"LeafNodeType": "SynchronizedBeforeSuite", "State": "passed"},
	{"ContainerHierarchyTexts": ["DNS"], "LeafNodeType": "It", "LeafNodeText": "resolves names", "State": "passed"},
	{"ContainerHierarchyTexts": ["DNS"], "LeafNodeType": "It", "LeafNodeText": "resolves more", "State": "timedout",
	 "Failure": {"Message": "timed out\nafter 60s", "Location": {"FileName": "dns.go", "LineNumber": 7}}},
	{"LeafNodeType": "It", "LeafNodeText": "needs SCTP", "State": "skipped"},
	{"LeafNodeType": "SynchronizedAfterSuite", "State": "failed", "Failure": {"Message": "left over", "Location": {"FileName": "end.go", "LineNumber": 9}}},
	{"LeafNodeType": "SynchronizedAfterSuite", "State": "failed", "Failure": {"Message": "left over", "Location": {"FileName": "end.go", "LineNumber": 9}}}
]}]`

func TestReportCountsSpecsAndNamesEveryFailureOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(file, []byte(ginkgoReport), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	got.print(&text)
	want := "TIMEDOUT: DNS resolves more\n    timed out\n    dns.go:7\n" +
		"FAILED: SynchronizedAfterSuite\n    left over\n    end.go:9\n1 passed, 2 failed\n"
	if text.String() != want {
		t.Errorf("report\n%s\nwant\n%s", text.String(), want)
	}
}

func TestReportThatIsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	if _, err := readReport(file); err == nil {
		t.Error("no error for a report that is not there")
	}
	if err := os.WriteFile(file, []byte("[{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readReport(file); err == nil {
		t.Error("no error for half a report")
	}
}

func TestArchiveSharesLayersAndIsTheSameEveryTime(t *testing.T) {
	roots := t.TempDir()
	for name, text := range map[string]string{"a/etc/passwd": "root", "a/bin/sh": "#!", "b/bin/sh": "#!"} {
		if err := writeAll(roots, map[string]string{name: text}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sh", filepath.Join(roots, "a/bin/bash")); err != nil {
		t.Fatal(err)
	}
	images := []image{
		{root: "a", command: []string{"bash"}, names: []string{"one:1", "one:2"}},
		{root: "a", entrypoint: []string{"/bin/sh"}, names: []string{"two:1"}},
		{root: "b", names: []string{"three:1"}},
	}
	var contents [2]map[string][]byte
	for i := range contents {
		file := filepath.Join(t.TempDir(), "images.tar")
		if err := writeArchive(file, roots, images); err != nil {
			t.Fatal(err)
		}
		contents[i] = entries(t, file)
	}
	if !slices.Equal(contents[0]["manifest.json"], contents[1]["manifest.json"]) {
		t.Error("the same folders made two different archives")
	}
	var manifest []manifestEntry
	if err := json.Unmarshal(contents[0]["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 3 || manifest[0].Layers[0] != manifest[1].Layers[0] || manifest[0].Layers[0] == manifest[2].Layers[0] {
		t.Fatalf("manifest %+v, want three images, the first two on one layer", manifest)
	}
	layer := contents[0][manifest[0].Layers[0]]
	for _, name := range []string{"bin/", "bin/bash", "bin/sh", "etc/passwd"} {
		if !slices.Contains(namesIn(t, layer), name) {
			t.Errorf("layer holds %v, without %s", namesIn(t, layer), name)
		}
	}
}

func TestEveryImageNameIsThereOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, i := range catalogue() {
		for _, name := range i.names {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
}

func entries(t *testing.T, file string) map[string][]byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for in := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[header.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
}

func namesIn(t *testing.T, layer []byte) []string {
	t.Helper()
	var names []string
	for in := tar.NewReader(bytes.NewReader(layer)); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}
