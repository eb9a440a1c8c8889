// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const referenceModule = "github.com/containernetworking/plugins@v1.9.1"

// buildReference builds the reference plugins, as their releases are built: static and stripped.
func buildReference(to string) error {
	out, err := exec.Command("go", "mod", "download", "-json", referenceModule).Output()
	if err != nil {
		return fmt.Errorf("download %s: %w", referenceModule, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return err
	}
	for _, p := range []string{"main/ptp", "ipam/host-local", "meta/portmap"} {
		c := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(to, filepath.Base(p)), "./plugins/"+p)
		c.Dir = module.Dir
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", p, err, out)
		}
	}
	return nil
}
