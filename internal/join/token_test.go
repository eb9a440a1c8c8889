// SPDX-License-Identifier: Apache-2.0

package join

import (
	"crypto/sha256"
	"strings"
	"testing"
)

func TestTokenRoundTrip(t *testing.T) {
	want := New(sha256.Sum256([]byte("authority")))
	have, err := Parse(" " + want.String() + "\n")
	if err != nil || have != want {
		t.Errorf("Parse(String()) = %+v, %v; want %+v", have, err, want)
	}
}

func TestParseRefuses(t *testing.T) {
	good := New(sha256.Sum256(nil)).String()
	for _, text := range []string{
		"", "abc", "abcdef.0123456789abcdef", strings.ToUpper(good), good + "00", good[:len(good)-2], strings.Replace(good, ".", "/", 1),
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) succeeded", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(New(sha256.Sum256(nil)).String())
	f.Fuzz(func(t *testing.T, text string) {
		token, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(token.String()); err != nil || again != token {
			t.Errorf("Parse(%q) does not survive a round trip: %v", text, err)
		}
	})
}
