// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func show(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name()[0] == '.' {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			for name, text := range show(t, path) {
				out[e.Name()+"/"+name] = text
			}
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(data)
	}
	return out
}

func TestReplaceSwitchesAllFilesAtOnce(t *testing.T) {
	dir := t.TempDir()
	versions := []map[string]string{
		{"a": "1", "deep/b": "1"}, {"a": "2", "deep/b": "2"}, {"a": "2", "deep/b": "2"}, {"c": "3"}, {},
	}
	var links []string
	for _, version := range versions {
		payload := map[string]file{}
		for name, text := range version {
			payload[name] = file{data: []byte(text), mode: 0o640}
		}
		if err := replace(dir, payload, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(version, show(t, dir)); diff != "" {
			t.Errorf("the volume differs (-want +got):\n%s", diff)
		}
		link, err := os.Readlink(filepath.Join(dir, dataLink))
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, link)
	}
	if links[1] != links[2] {
		t.Error("an unchanged payload was written again")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 { // the link and the one version that it names
		t.Errorf("left over: %v", entries)
	}
}

func TestReplaceRefusesToLeaveTheVolume(t *testing.T) {
	for _, name := range []string{"../x", "/x", "..data", "a/../../x", ""} {
		if err := replace(t.TempDir(), map[string]file{name: {}}, nil); err == nil {
			t.Errorf("%q was written", name)
		}
	}
}

func TestSubPathStaysInside(t *testing.T) {
	volume := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(volume, "out")); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"../x", "/etc", "out", "out/passwd"} {
		if err := bindPart(volume, part, filepath.Join(t.TempDir(), "target")); err == nil {
			t.Errorf("%q was bound", part)
		}
	}
}

func TestSubPathShowsAPart(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: parts of volumes are bound")
	}
	volume, target := t.TempDir(), filepath.Join(t.TempDir(), "target")
	if err := replace(volume, map[string]file{"key": {data: []byte("value"), mode: 0o644}}, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, it is there already
		if err := bindPart(volume, "key", target); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(target)
	if err != nil || string(data) != "value" {
		t.Errorf("the part shows %q, %v", data, err)
	}
	if err := unmountBelow(target); err != nil {
		t.Error(err)
	}
	if mounts, err := mountsBelow(target); err != nil || len(mounts) != 0 {
		t.Errorf("still mounted: %v, %v", mounts, err)
	}
}

// A part that is not there is made with the rights of the volume, so that a group that may use the one may use the other.
func TestMissingPartHasTheRightsOfTheVolume(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: parts of volumes are bound")
	}
	volume, target := t.TempDir(), filepath.Join(t.TempDir(), "target")
	rights := os.ModeSetgid | os.ModeSticky | 0o777
	if err := errors.Join(os.Chown(volume, 0, 123), os.Chmod(volume, rights)); err != nil {
		t.Fatal(err)
	}
	if err := bindPart(volume, "new/part", target); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(volume, "new"), target} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode() &^ os.ModeDir; got != rights || info.Sys().(*syscall.Stat_t).Gid != 123 {
			t.Errorf("%s has %v of group %d", path, got, info.Sys().(*syscall.Stat_t).Gid)
		}
	}
	if err := unmountBelow(target); err != nil {
		t.Error(err)
	}
}
