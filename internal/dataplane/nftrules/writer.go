// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"fmt"
	"regexp"
	"slices"
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

// Script returns the transaction that makes a table equal to its text. Sets and maps keep their elements; what of the listing,
// which is what the kernel has, is not in the text goes.
func Script(family nft.Family, table, text, listing string) string {
	var out strings.Builder
	head := fmt.Sprintf("table %s %s", family, table)
	fmt.Fprintf(&out, "add %s\nflush %s\n", head, head)
	wanted := map[string]bool{}
	for _, match := range objectLine.FindAllStringSubmatch(text, -1) {
		wanted[match[2]] = true
	}
	found := objectLine.FindAllStringSubmatch(listing, -1)
	for _, chains := range []bool{false, true} { // elements of maps lead to chains, which cannot go before
		for _, match := range found {
			if !wanted[match[2]] && chains == (match[1] == "chain") {
				fmt.Fprintf(&out, "delete %s %s %s %s\n", match[1], family, table, match[2])
			}
		}
	}
	return out.String() + text
}

var objectLine = regexp.MustCompile(`(?m)^\t(set|map|chain) (\S+) \{`)

// Replacement returns the transaction that writes a table anew, without elements.
func Replacement(family nft.Family, table, text string) string {
	head := fmt.Sprintf("table %s %s", family, table)
	return fmt.Sprintf("add %s\ndelete %s\n%s", head, head, text)
}

// Canonical drops what differs between versions of nft without a meaning, the order of sets and chains, which is the one that
// they were made in, and the elements of constant maps, which nft leaves out of a terse listing.
func Canonical(listing string) string {
	var blocks []string
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
		if line == "}" {
			blocks = append(blocks, out.String())
			out.Reset()
		}
	}
	slices.Sort(blocks)
	return strings.Join(blocks, "") + out.String()
}
