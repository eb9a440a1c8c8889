// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"strings"
)

// Name returns the wire form of a dotted name in lower case; the trailing dot may be missing, and escapes are not known.
// A label that is empty or longer than 63 bytes, or a name of more than 255, is an error.
func Name(dotted string) ([]byte, error) {
	labels, err := AppendLabels(nil, strings.TrimSuffix(dotted, "."))
	if err != nil {
		return nil, err
	}
	if len(labels)+1 > MaxName {
		return nil, fmt.Errorf("name %q is longer than %d bytes", dotted, MaxName)
	}
	return append(labels, 0), nil
}

// AppendLabels appends the labels of a dotted name without a root. The empty string has no labels.
func AppendLabels(to []byte, dotted string) ([]byte, error) {
	if dotted == "" {
		return to, nil
	}
	for label := range strings.SplitSeq(dotted, ".") {
		if label == "" || len(label) > 63 {
			return nil, fmt.Errorf("name %q: label %q must have 1 to 63 bytes", dotted, label)
		}
		to = append(to, byte(len(label)))
		for i := range len(label) {
			to = append(to, lower[label[i]])
		}
	}
	return to, nil
}

// Text returns the dotted form of a name in wire form, with the trailing dot; bytes that are not printable are escaped
// as in zone files.
func Text(name []byte) string {
	var b strings.Builder
	for i := 0; i < len(name) && name[i] != 0; i += 1 + int(name[i]) {
		for _, c := range name[i+1 : min(i+1+int(name[i]), len(name))] {
			switch {
			case c == '.' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < '!' || c > '~':
				fmt.Fprintf(&b, "\\%03d", c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('.')
	}
	if b.Len() == 0 {
		return "."
	}
	return b.String()
}
