// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sample = `2026-01-02T03:04:05.000000001Z stdout F one
2026-01-02T03:04:06.000000001Z stderr F two
2026-01-02T03:04:07.000000001Z stdout P thr
2026-01-02T03:04:07.000000002Z stdout F ee
2026-01-02T03:04:08.000000001Z stdout F four
`

// docker is the same as Docker writes it.
const docker = `{"log":"one\n","stream":"stdout","time":"2026-01-02T03:04:05.000000001Z"}
{"log":"two\n","stream":"stderr","time":"2026-01-02T03:04:06.000000001Z"}
{"log":"thr","stream":"stdout","time":"2026-01-02T03:04:07.000000001Z"}
{"log":"ee\n","stream":"stdout","time":"2026-01-02T03:04:07.000000002Z"}
{"log":"four\n","stream":"stdout","time":"2026-01-02T03:04:08.000000001Z"}
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{Tail: -1, Limit: -1}, "one\ntwo\nthree\nfour\n"},
		{"tail", Options{Tail: 1, Limit: -1}, "four\n"},
		{"none", Options{Tail: 0, Limit: -1}, ""},
		{"bytes", Options{Tail: -1, Limit: 5}, "one\nt"},
		{"since", Options{Tail: -1, Limit: -1, Since: time.Date(2026, 1, 2, 3, 4, 7, 0, time.UTC)}, "three\nfour\n"},
		{"stderr", Options{Tail: -1, Limit: -1, Stream: "stderr"}, "two\n"},
		{"timestamps", Options{Tail: 1, Limit: -1, Timestamps: true}, "2026-01-02T03:04:08.000000001Z four\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, log := range []string{sample, docker} {
				var out bytes.Buffer
				if err := Read(context.Background(), write(t, log), c.o, func() bool { return false }, &out, &out, func() {}); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, out.String()); diff != "" {
					t.Errorf("text differs (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestFollowAcrossRotation(t *testing.T) {
	path := write(t, "2026-01-02T03:04:05Z stdout F before\n")
	step := 0
	alive := func() bool {
		step++
		switch step {
		case 1:
			if err := os.Rename(path, path+".1"); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(path, []byte("2026-01-02T03:04:06Z stdout F after\n"), 0o600); err != nil {
				t.Error(err)
			}
			return true
		case 2:
			return true
		}
		return false
	}
	var out bytes.Buffer
	if err := Read(context.Background(), path, Options{Follow: true, Tail: -1, Limit: -1}, alive, &out, &out, func() {}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("before\nafter\n", out.String()); diff != "" {
		t.Errorf("text differs (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05Z stdout F x\n"))
	f.Add([]byte("2026-01-02T03:04:05Z stderr P\n"))
	f.Add([]byte(`{"log":"x","stream":"stderr","time":"2026-01-02T03:04:05Z"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if line, err := Parse(raw); err == nil && line.Stream != "stdout" && line.Stream != "stderr" {
			t.Errorf("stream %q of %q", line.Stream, raw)
		}
	})
}
