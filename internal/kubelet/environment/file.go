// SPDX-License-Identifier: Apache-2.0

package environment

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// fileKey returns a variable of a file in one of the pod's volumes, which an earlier container wrote.
func fileKey(pod *corev1.Pod, ref *corev1.FileKeySelector, source Source) (string, bool, error) {
	optional := ref.Optional != nil && *ref.Optional
	text, err := source.File(pod, ref.VolumeName, ref.Path)
	if err != nil {
		return "", false, err
	}
	value, found, err := parseFile(text, ref.Key)
	if err != nil {
		return "", false, fmt.Errorf("file %s of volume %s: %w", ref.Path, ref.VolumeName, err)
	}
	if !found && !optional {
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path)
	}
	return value, found, nil
}

// parseFile looks a key up in lines NAME='value', in which a value may have several lines, among comments and empty ones. What a shell would take
// for an empty value, and an empty one, are none.
func parseFile(text, key string) (value string, found bool, err error) {
	for line := 1; text != ""; line++ {
		var row string
		row, text, _ = strings.Cut(text, "\n")
		row = strings.TrimLeft(strings.TrimSuffix(row, "\r"), " \t")
		if row == "" || row[0] == '#' {
			continue
		}
		name, rest, assigned := strings.Cut(row, "=")
		if !assigned || name == "" || strings.ContainsAny(name, " \t") {
			return "", false, fmt.Errorf("line %d: expected NAME='value', without spaces around =", line)
		}
		if rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
			if name == key {
				return "", false, nil
			}
			continue
		}
		if rest == "" || rest[0] != '\'' {
			return "", false, fmt.Errorf("line %d: the value of %s must be in single quotes", line, name)
		}
		content, after, closed := strings.Cut(rest[1:], "'")
		for begin := line; !closed; {
			if text == "" {
				return "", false, fmt.Errorf("line %d: the value of %s has no closing quote", begin, name)
			}
			var more string
			row, text, _ = strings.Cut(text, "\n")
			line++
			more, after, closed = strings.Cut(strings.TrimSuffix(row, "\r"), "'")
			content += "\n" + more
		}
		if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
			return "", false, fmt.Errorf("line %d: there is more after the value of %s", line, name)
		}
		if name == key {
			return content, content != "", nil
		}
	}
	return "", false, nil
}
