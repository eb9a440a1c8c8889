// SPDX-License-Identifier: Apache-2.0

package handover

import (
	"path/filepath"
	"testing"

	"eastwest/internal/dataplane/conformance"
)

func BenchmarkFile(b *testing.B) {
	backend := &Backend{config: Config{File: filepath.Join(b.TempDir(), "image")}}
	what := image{rows: conformance.Numbered(10000, 10)}
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := backend.write(what); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if left := backend.read(); left.err != nil || len(left.rows) != 10000 {
				b.Fatal(left.err)
			}
		}
	})
}
