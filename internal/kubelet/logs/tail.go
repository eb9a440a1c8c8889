// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const block = 16 << 10

// tailStart returns the offset of the last n lines.
func tailStart(f io.ReaderAt, size, n int64) (int64, error) {
	if n < 0 {
		return 0, nil
	}
	if n == 0 {
		return size, nil
	}
	buffer := make([]byte, block)
	for end := size; end > 0; {
		begin := max(end-block, 0)
		part := buffer[:end-begin]
		if _, err := f.ReadAt(part, begin); err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read the log backwards: %w", err)
		}
		for i := len(part) - 1; i >= 0; i-- {
			if part[i] != '\n' || begin+int64(i) == size-1 {
				continue
			}
			if n--; n == 0 {
				return begin + int64(i) + 1, nil
			}
		}
		end = begin
	}
	return 0, nil
}

// Tail writes the text of the last lines of a log, at most the last bytes of it.
func Tail(path string, lines, limit int64, w io.Writer) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("examine the log: %w", err)
	}
	start, err := tailStart(f, info.Size(), lines)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, start, info.Size()-start))
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	var text bytes.Buffer
	for line := range bytes.Lines(raw) {
		if l, err := Parse(line); err == nil {
			text.Write(l.Text)
		}
	}
	out := text.Bytes()
	if int64(len(out)) > limit {
		out = out[int64(len(out))-limit:]
	}
	_, err = w.Write(out)
	return err
}
