// SPDX-License-Identifier: Apache-2.0

package environment

import "strings"

// Expand replaces $(NAME) by what value knows of NAME. $$ stands for a dollar sign that starts nothing; a reference to an unknown
// name stays as it is written.
func Expand(text string, value func(name string) (string, bool)) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 || i == len(text)-1 {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:i])
		text = text[i:]
		switch text[1] {
		case '$':
			b.WriteByte('$')
			text = text[2:]
		case '(':
			end := strings.IndexByte(text, ')')
			if end < 0 {
				b.WriteString(text[:2])
				text = text[2:]
				continue
			}
			if v, known := value(text[2:end]); known {
				b.WriteString(v)
			} else {
				b.WriteString(text[:end+1])
			}
			text = text[end+1:]
		default:
			b.WriteString(text[:2])
			text = text[2:]
		}
	}
}

// ExpandAll expands each text with the variables.
func ExpandAll(texts []string, variables []Variable) []string {
	if len(texts) == 0 {
		return nil
	}
	known := map[string]string{}
	for _, v := range variables {
		known[v.Name] = v.Value
	}
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = Expand(text, func(name string) (string, bool) { v, ok := known[name]; return v, ok })
	}
	return out
}
