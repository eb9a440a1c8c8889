// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// suiteReport is what we read of ginkgo's JSON report.
type suiteReport struct{ SpecReports []specReport }

type specReport struct {
	ContainerHierarchyTexts []string
	LeafNodeType            string
	LeafNodeText            string
	State                   string
	Failure                 struct {
		Message  string
		Location struct {
			FileName   string
			LineNumber int
		}
	}
}

// summary is what became of the specs. Those that were not selected are not in it; those that found that they cannot be
// run here are in skipped, with the reason.
type summary struct {
	passed          int
	failed, skipped []string
}

func (s summary) ran() int { return s.passed + len(s.failed) }

func readReport(path string) (summary, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return summary{}, fmt.Errorf("read ginkgo's report: %w", err)
	}
	var suites []suiteReport
	if err := json.Unmarshal(content, &suites); err != nil {
		return summary{}, fmt.Errorf("read ginkgo's report %s: %w", path, err)
	}
	var s summary
	for _, suite := range suites {
		for _, spec := range suite.SpecReports {
			s.add(spec)
		}
	}
	return s, nil
}

func (s *summary) add(spec specReport) {
	what := strings.Join(append(spec.ContainerHierarchyTexts, spec.LeafNodeText), " ")
	why, _, _ := strings.Cut(strings.TrimSpace(spec.Failure.Message), "\n")
	switch spec.State {
	case "passed":
		if spec.LeafNodeType == "It" {
			s.passed++
		}
	case "skipped", "pending":
		if why != "" {
			s.skipped = append(s.skipped, fmt.Sprintf("SKIPPED: %s\n    %s\n", what, why))
		}
	default:
		s.failed = append(s.failed, fmt.Sprintf("%s: %s\n    %s\n    %s:%d\n", strings.ToUpper(spec.State), what,
			strings.ReplaceAll(strings.TrimSpace(spec.Failure.Message), "\n", "\n    "), spec.Failure.Location.FileName, spec.Failure.Location.LineNumber))
	}
}

func (s summary) print(w io.Writer) {
	for _, line := range append(s.skipped, s.failed...) {
		io.WriteString(w, line) //nolint:errcheck // stdout
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped themselves\n", s.passed, len(s.failed), len(s.skipped))
}
