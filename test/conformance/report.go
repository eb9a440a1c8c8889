// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// suiteReport is what we read of ginkgo's JSON report: a list of suites, each with its specs and what ran around them.
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

// good are the states that are no failure.
var good = []string{"passed", "skipped", "pending"}

// summary is what became of the specs.
type summary struct {
	passed int
	failed []failure
}

type failure struct{ spec, state, why, where string }

func (s summary) ran() int { return s.passed + len(s.failed) }

func readReport(file string) (summary, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return summary{}, fmt.Errorf("read ginkgo's report: %w", err)
	}
	var suites []suiteReport
	if err := json.Unmarshal(content, &suites); err != nil {
		return summary{}, fmt.Errorf("read ginkgo's report %s: %w", file, err)
	}
	return summarize(suites), nil
}

// summarize counts specs; of what runs around them, only failures matter. A failure is named once however many processes
// met it.
func summarize(suites []suiteReport) summary {
	var s summary
	for _, suite := range suites {
		for _, spec := range suite.SpecReports {
			switch f := failureOf(spec); {
			case !slices.Contains(good, spec.State) && !slices.Contains(s.failed, f):
				s.failed = append(s.failed, f)
			case spec.State == "passed" && spec.LeafNodeType == "It":
				s.passed++
			}
		}
	}
	return s
}

func failureOf(spec specReport) failure {
	name := strings.Join(append(spec.ContainerHierarchyTexts, spec.LeafNodeText), " ")
	if name == "" {
		name = spec.LeafNodeType
	}
	why, _, _ := strings.Cut(strings.TrimSpace(spec.Failure.Message), "\n")
	where := fmt.Sprintf("%s:%d", spec.Failure.Location.FileName, spec.Failure.Location.LineNumber)
	return failure{spec: name, state: spec.State, why: why, where: where}
}

func (s summary) print(w io.Writer) {
	for _, f := range s.failed {
		fmt.Fprintf(w, "%s: %s\n    %s\n    %s\n", strings.ToUpper(f.state), f.spec, f.why, f.where)
	}
	fmt.Fprintf(w, "%d passed, %d failed\n", s.passed, len(s.failed))
}
