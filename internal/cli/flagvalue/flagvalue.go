// SPDX-License-Identifier: Apache-2.0

// Package flagvalue reads what people write after flags.
package flagvalue

import "fmt"

// Each parses every value of a flag; an error names the flag.
func Each[T any](flag string, texts []string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for _, text := range texts {
		one, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		out = append(out, one)
	}
	return out, nil
}
