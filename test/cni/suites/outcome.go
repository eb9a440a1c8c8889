// SPDX-License-Identifier: Apache-2.0

package suites

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// outcome is what a suite said.
type outcome struct {
	ran    int            // specs
	failed map[string]int // how often a spec failed, by its name without the version of the specification
}

var (
	failure = regexp.MustCompile(`(?m)^\s*\[(?:FAIL|PANICKED!|TIMEDOUT|INTERRUPTED)\] (.*)$`)
	total   = regexp.MustCompile(`(?m)^Ran (\d+) of \d+ Specs`)
	// specVersion stands in the name of a spec that is run once for each version of the specification.
	specVersion = regexp.MustCompile(`\[[0-9.]+\] `)
)

// read reads what a suite printed, which was to print no colours and to be verbose.
func read(out string) (outcome, error) {
	o := outcome{failed: map[string]int{}}
	n := total.FindStringSubmatch(out)
	if n == nil {
		return o, fmt.Errorf("the suite did not come to its end: %s", out[max(0, len(out)-2000):])
	}
	o.ran, _ = strconv.Atoi(n[1])
	_, summary, found := strings.Cut(out, "\nSummarizing ")
	if !found {
		return o, nil
	}
	for _, m := range failure.FindAllStringSubmatch(summary, -1) {
		o.failed[strings.TrimSpace(specVersion.ReplaceAllString(m[1], ""))]++
	}
	return o, nil
}

// complaints compares an outcome with what is known to fail, and words each difference.
func (o outcome) complaints(known []spec) []string {
	var out []string
	seen := map[string]bool{}
	for name, times := range o.failed {
		i := slices.IndexFunc(known, func(s spec) bool { return s.matches(name) })
		switch {
		case i < 0:
			out = append(out, fmt.Sprintf("%d × %s: failed", times, name))
		case times != known[i].times:
			out = append(out, fmt.Sprintf("%d × %s: failed, and is listed as failing %d times", times, name, known[i].times))
			fallthrough
		default:
			seen[known[i].name] = true
		}
	}
	for _, s := range known {
		if !seen[s.name] {
			out = append(out, fmt.Sprintf("%s: passes, and is listed as one that cannot (%s): take it off the list", s.name, s.why))
		}
	}
	slices.Sort(out)
	return out
}
