// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRotationKeepsTheNewest(t *testing.T) {
	path := write(t, "")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	reopen := func() error { return os.WriteFile(path, nil, 0o600) }
	for i := range 7 {
		if err := os.WriteFile(path, []byte(strings.Repeat("x", 100+i)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Rotate(path, 99, 4, now.Add(time.Duration(i)*time.Second), reopen); err != nil {
			t.Fatal(err)
		}
	}
	if err := Rotate(path, 99, 4, now, func() error { return errors.New("asked for nothing") }); err != nil {
		t.Error("a log that is small:", err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	want := "0.log 0.log.20260102-030409.000.gz 0.log.20260102-030410.000.gz 0.log.20260102-030411.000"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("left %s, want %s", got, want)
	}
}

func TestLogStaysWhereItCannotBeBegunAnew(t *testing.T) {
	path := write(t, "long enough")
	if err := Rotate(path, 1, 5, time.Now(), func() error { return errors.New("not supported") }); err == nil {
		t.Error("no error")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "long enough" {
		t.Errorf("%q, %v", text, err)
	}
	link := filepath.Join(t.TempDir(), "0.log")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := Rotate(link, 1, 5, time.Now(), func() error { return errors.New("asked") }); err != nil {
		t.Error("a runtime's own log:", err)
	}
	if err := Rotate(filepath.Join(t.TempDir(), "none"), 1, 5, time.Now(), nil); err != nil {
		t.Error("no log:", err)
	}
}
