// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"testing"

	"eastwest/internal/kernel/nft/wire"
)

func TestComment(t *testing.T) {
	for data, want := range map[string]string{
		"\x00\x03hi\x00": "hi", "\x00\x02hi": "hi", "\x01\x01x\x00\x03hi\x00": "hi", "\x01\x03hi\x00": "",
		"": "", "\x00": "", "\x00\x04hi\x00": "", "\x01\xff": "", "\x01\x01x\x00\xffhi": "",
	} {
		if got := wire.Comment([]byte(data)); got != want {
			t.Errorf("%q: %q, want %q", data, got, want)
		}
	}
}

func FuzzElements(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x18\x00\x03\x80\x14\x00\x01\x80\x10\x00\x01\x80\x08\x00\x01\x00\x0a\x00\x00\x01\x05\x00\x06\x00\x00\xff"))
	f.Fuzz(func(_ *testing.T, body []byte) {
		_ = wire.Elements(nil, body)
		_ = wire.Comment(body)
	})
}
