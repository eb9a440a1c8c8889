// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	text := `[{"SpecReports": [
		{"LeafNodeType": "BeforeSuite", "State": "passed"},
		{"ContainerHierarchyTexts": ["Pods"], "LeafNodeType": "It", "LeafNodeText": "start", "State": "passed"},
		{"ContainerHierarchyTexts": ["Pods"], "LeafNodeType": "It", "LeafNodeText": "are not selected", "State": "skipped"},
		{"ContainerHierarchyTexts": ["AppArmor"], "LeafNodeType": "It", "LeafNodeText": "holds", "State": "skipped", "Failure": {"Message": "is disabled"}},
		{"ContainerHierarchyTexts": ["Pods", "that run"], "LeafNodeType": "It", "LeafNodeText": "stop", "State": "failed",
		 "Failure": {"Message": "timeout\nof 60 s", "Location": {"FileName": "a.go", "LineNumber": 7}}}]}]`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(file)
	if err != nil || got.ran() != 2 {
		t.Fatalf("report: %+v, %v; want 2 specs that ran", got, err)
	}
	var out strings.Builder
	got.print(&out)
	want := "SKIPPED: AppArmor holds\n    is disabled\nFAILED: Pods that run stop\n    timeout\n    of 60 s\n    a.go:7\n1 passed, 1 failed, 1 skipped themselves\n"
	if out.String() != want {
		t.Errorf("got %q\nwant %q", out.String(), want)
	}
	if _, err := readReport(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a report that is not there is no error")
	}
}
