// SPDX-License-Identifier: Apache-2.0

package rootfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"eastwest/internal/cri/rootfs"
	"eastwest/internal/kernel/netns/netnstest"
)

// Of many layers with long names the upper ones hide the lower ones, and what is written stays out of them.
func TestMount(t *testing.T) {
	netnstest.RequireRoot(t)
	base := t.TempDir()
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, ""); err != nil { // folders for tests may be on an overlay
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(base, unix.MNT_DETACH) })
	var layers []string
	for i := range 20 {
		layer := filepath.Join(base, fmt.Sprintf("layer-%0100d", i))
		layers = append(layers, layer)
		for _, name := range []string{"in-all", fmt.Sprint("in-", i)} {
			if err := os.MkdirAll(layer, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(layer, name), fmt.Append(nil, i), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	target := filepath.Join(base, "target")
	for range 2 { // the second time it is there
		if err := rootfs.Mount(target, layers, filepath.Join(base, "state")); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"in-all": "0", "in-0": "0", "in-19": "19"} {
		if have, err := os.ReadFile(filepath.Join(target, name)); err != nil || string(have) != want {
			t.Errorf("%s: %q, %v, want %q", name, have, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(target, "in-all"), []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile(filepath.Join(layers[0], "in-all")); err != nil || string(have) != "0" {
		t.Errorf("the layer has %q, %v", have, err)
	}
	if err := rootfs.Unmount(target); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("the mount point is still there")
	}
}
