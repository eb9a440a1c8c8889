// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"fmt"
	"strings"

	"eastwest/internal/kernel/nft"
)

// Writer writes blocks indented as nft lists them.
type Writer struct {
	strings.Builder
	depth int
}

// Line writes one line.
func (w *Writer) Line(format string, args ...any) {
	fmt.Fprintf(w, "%s%s\n", strings.Repeat("\t", w.depth), fmt.Sprintf(format, args...))
}

// Open begins a block; Close ends it.
func (w *Writer) Open(format string, args ...any) {
	w.Line(format+" {", args...)
	w.depth++
}

// Close ends the last block that was opened.
func (w *Writer) Close() {
	w.depth--
	w.Line("}")
}

// Script returns the transaction that makes a table equal to its text and keeps the elements of its sets and maps.
func Script(family nft.Family, table, text string) string {
	head := fmt.Sprintf("table %s %s", family, table)
	return fmt.Sprintf("add %s\nflush %s\n%s", head, head, text)
}

// Replacement returns the transaction that writes a table anew, without elements.
func Replacement(family nft.Family, table, text string) string {
	head := fmt.Sprintf("table %s %s", family, table)
	return fmt.Sprintf("add %s\ndelete %s\n%s", head, head, text)
}

// Canonical drops what differs between versions of nft without a meaning, and the elements of constant maps, which nft
// leaves out of a terse listing.
func Canonical(listing string) string {
	var out strings.Builder
	skipping := false
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "elements = {") || skipping {
			skipping = !strings.HasSuffix(line, "}")
			continue
		}
		if line != "" {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}
