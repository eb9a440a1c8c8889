// SPDX-License-Identifier: Apache-2.0

// Package reference builds the CNI plugins to compare with.
package reference

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Module is what is compared with, and its version.
const Module = "github.com/containernetworking/plugins@v1.9.1"

// Source returns the folder of the plugins' source, which is read-only.
func Source() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", Module).Output()
	if err != nil {
		return "", fmt.Errorf("download %s: %w", Module, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("find the source of %s: %w", Module, err)
	}
	return module.Dir, nil
}

// Build builds plugins, such as main/ptp, into a folder, as their releases are built: static and stripped.
func Build(to string, plugins ...string) error {
	source, err := Source()
	if err != nil {
		return err
	}
	for _, p := range plugins {
		c := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(to, filepath.Base(p)), "./plugins/"+p)
		c.Dir = source
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", p, err, out)
		}
	}
	return nil
}
