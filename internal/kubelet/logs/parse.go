// SPDX-License-Identifier: Apache-2.0

// Package logs reads container logs in CRI's format: `time stream flags text` a line, the flag P marking a line that goes on.
package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Line is one line of a log. Text ends with a newline unless the line goes on in the next one.
type Line struct {
	Time   time.Time
	Stream string // stdout or stderr
	Text   []byte
}

var errFormat = errors.New("the line is not in CRI log format")

// Parse reads one line with its newline, in CRI's format or in Docker's. Text may alias raw.
func Parse(raw []byte) (Line, error) {
	if bytes.HasPrefix(raw, []byte("{")) {
		return parseDocker(raw)
	}
	stamp, rest, ok := bytes.Cut(raw, []byte(" "))
	if !ok {
		return Line{}, errFormat
	}
	when, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, fmt.Errorf("%w: %w", errFormat, err)
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok || string(stream) != "stdout" && string(stream) != "stderr" {
		return Line{}, errFormat
	}
	flags, text, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		flags, text = bytes.TrimSuffix(rest, []byte("\n")), []byte("\n")
	}
	if partial(flags) {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	return Line{Time: when, Stream: string(stream), Text: text}, nil
}

// parseDocker reads a line of Docker's json-file logs, which cri-dockerd leaves where CRI's are expected. A part of a line has no newline.
func parseDocker(raw []byte) (Line, error) {
	var line struct {
		Log    string    `json:"log"`
		Stream string    `json:"stream"`
		Time   time.Time `json:"time"`
	}
	if err := json.Unmarshal(raw, &line); err != nil {
		return Line{}, fmt.Errorf("%w: %w", errFormat, err)
	}
	if line.Stream != "stdout" && line.Stream != "stderr" {
		return Line{}, errFormat
	}
	return Line{Time: line.Time, Stream: line.Stream, Text: []byte(line.Log)}, nil
}

func partial(flags []byte) bool {
	first, _, _ := bytes.Cut(flags, []byte(":"))
	return string(first) == "P"
}
