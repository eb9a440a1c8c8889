// SPDX-License-Identifier: Apache-2.0

package environment

import "testing"

func TestParseFile(t *testing.T) {
	const text = "# made by init\n\nA='one'\n  B='two words' # said\nC='first\nsecond'\nEMPTY=''\nSHELL= 'not this'\nD='a=b'\r\n"
	for key, want := range map[string]string{"A": "one", "B": "two words", "C": "first\nsecond", "D": "a=b", "EMPTY": "", "SHELL": "", "NONE": ""} {
		if got, found, err := parseFile(text, key); err != nil || got != want || found != (want != "") {
			t.Errorf("%s: %q, %v, %v; want %q", key, got, found, err, want)
		}
	}
	for _, wrong := range []string{"A=one", "A", "A =''", "='x'", "A='x' y", "A='x", "A=\"x\"", "A="} {
		if _, _, err := parseFile(wrong, "B"); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
