// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names inside a volume. Readers see user-visible links that lead through dataLink to one whole version of all files; renaming
// dataLink switches all files at once.
//
//	name -> ..data/name      ..data -> ..2026_01_02_15_04_05.123456789      ..2026_…/name
const (
	dataLink    = "..data"
	newDataLink = "..data_tmp"
	stamp       = "..2006_01_02_15_04_05.000000000"
)

// replace makes dir show exactly the payload. It changes nothing when it does already.
func replace(dir string, payload map[string]file, group *int64) error {
	if err := checked(payload); err != nil {
		return err
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the current version: %w", err)
	}
	if old != "" && same(filepath.Join(dir, old), payload, group) {
		return links(dir, payload)
	}
	version := time.Now().Format(stamp)
	if err := write(filepath.Join(dir, version), payload); err != nil {
		return errors.Join(err, os.RemoveAll(filepath.Join(dir, version)))
	}
	if err := ownership(filepath.Join(dir, version), group, false); err != nil {
		return err
	}
	if err := point(dir, version); err != nil {
		return err
	}
	if err := links(dir, payload); err != nil {
		return err
	}
	if old != "" {
		return wrap("remove the last version", os.RemoveAll(filepath.Join(dir, old)))
	}
	return nil
}

func write(dir string, payload map[string]file) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make a new version: %w", err)
	}
	for name, f := range payload {
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return fmt.Errorf("make the directory of %s: %w", name, err)
		}
		if err := os.WriteFile(target, f.data, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if f.user != nil {
			if err := os.Chown(target, int(*f.user), -1); err != nil {
				return fmt.Errorf("give %s to user %d: %w", name, *f.user, err)
			}
		}
		if err := os.Chmod(target, f.mode); err != nil {
			return fmt.Errorf("set the mode of %s: %w", name, err)
		}
	}
	return nil
}

func point(dir, version string) error {
	temporary := filepath.Join(dir, newDataLink)
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a link that was left over: %w", err)
	}
	if err := os.Symlink(version, temporary); err != nil {
		return fmt.Errorf("link the new version: %w", err)
	}
	return wrap("switch to the new version", os.Rename(temporary, filepath.Join(dir, dataLink)))
}

// links makes the visible names, and removes those that lead to nothing any more.
func links(dir string, payload map[string]file) error {
	want := map[string]bool{}
	for name := range payload {
		first, _, _ := strings.Cut(name, "/")
		want[first] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the volume: %w", err)
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), ".."):
		case want[e.Name()]:
			delete(want, e.Name())
		default:
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove %s: %w", e.Name(), err)
			}
		}
	}
	for name := range want {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return nil
}

// same says whether the version holds exactly the payload.
func same(dir string, payload map[string]file, group *int64) bool {
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, wanted := payload[name]
		data, err := os.ReadFile(path)
		if err != nil || !wanted || !bytes.Equal(data, f.data) {
			return errors.Join(err, errDiffers)
		}
		info, err := d.Info()
		if err != nil || group == nil && info.Mode().Perm() != f.mode.Perm() {
			return errors.Join(err, errDiffers)
		}
		count++
		return nil
	})
	return err == nil && count == len(payload)
}

var errDiffers = errors.New("the files differ")
