// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
)

// directive is one line of a Corefile's server block, with what its braces hold.
type directive struct {
	line  int
	words []string
	body  []directive
}

// parseCorefile reads the server blocks of a Corefile; a block is a directive whose words are its zones.
func parseCorefile(text string) ([]directive, error) {
	p := &corefileParser{}
	for i, line := range strings.Split(text, "\n") {
		if err := p.line(i+1, corefileWords(line)); err != nil {
			return nil, err
		}
	}
	if len(p.open) > 0 {
		return nil, fmt.Errorf("read Corefile: line %d: its brace is not closed", p.open[len(p.open)-1].line)
	}
	return p.blocks, nil
}

type corefileParser struct {
	blocks []directive
	open   []*directive
}

// maxDepth is how deep braces may stand in each other: a server block, a directive, and what it holds.
const maxDepth = 8

func (p *corefileParser) line(n int, words []string) error {
	for len(words) > 0 && words[0] == "}" {
		if len(p.open) == 0 {
			return fmt.Errorf("read Corefile: line %d: a brace too many", n)
		}
		last := p.open[len(p.open)-1]
		p.open = p.open[:len(p.open)-1]
		p.add(*last)
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	d := directive{line: n, words: words}
	if words[len(words)-1] != "{" {
		p.add(d)
		return nil
	}
	if len(words) == 1 {
		return fmt.Errorf("read Corefile: line %d: a brace with nothing before it", n)
	}
	if len(p.open) == maxDepth {
		return fmt.Errorf("read Corefile: line %d: braces too deep in each other", n)
	}
	d.words = words[:len(words)-1]
	p.open = append(p.open, &d)
	return nil
}

func (p *corefileParser) add(d directive) {
	if len(p.open) == 0 {
		p.blocks = append(p.blocks, d)
		return
	}
	parent := p.open[len(p.open)-1]
	parent.body = append(parent.body, d)
}

// corefileWords splits a line; quotes hold words together, # begins a comment.
func corefileWords(line string) []string {
	var words []string
	for line = strings.TrimSpace(line); line != "" && line[0] != '#'; line = strings.TrimSpace(line) {
		if line[0] == '"' {
			word, rest, _ := strings.Cut(line[1:], `"`)
			words, line = append(words, word), rest
			continue
		}
		end := strings.IndexAny(line, " \t\r")
		if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words
}
