// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a container puts into its volume cannot have the node read anything else, or wait.
func TestReadWithin(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600),
		os.MkdirAll(filepath.Join(dir, "sub"), 0o755),
		os.WriteFile(filepath.Join(dir, "sub", "env"), []byte("A='1'"), 0o600),
		os.Symlink("sub/env", filepath.Join(dir, "inside")),
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")),
		os.Symlink(outside, filepath.Join(dir, "dir")),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"sub/env", "inside"} {
		if got, err := readWithin(dir, path); err != nil || got != "A='1'" {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"link", "dir/secret", "../" + filepath.Base(outside) + "/secret", "pipe", "sub", "none"} {
		if got, err := readWithin(dir, path); err == nil {
			t.Errorf("%s gave %q", path, got)
		}
	}
}
