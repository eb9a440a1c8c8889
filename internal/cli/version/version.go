// SPDX-License-Identifier: Apache-2.0

// Package version says which version of eastwest this program is, from what the Go toolchain wrote into it.
package version

import (
	"runtime"
	"runtime/debug"
)

// Kubernetes is the version of Kubernetes' API that eastwest serves.
const Kubernetes = "v1.36.3"

// Info is the version of a program.
type Info struct {
	// Version is the module's version, or "devel" for a build from a working tree.
	Version string `json:"version"`
	// Commit is the git commit, with "-dirty" appended where files were changed; empty when unknown.
	Commit string `json:"commit,omitempty"`
	// Kubernetes is the version of Kubernetes' API.
	Kubernetes string `json:"kubernetes"`
	// Go is the toolchain's version, Platform the operating system and processor.
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Get returns this program's version.
func Get() Info {
	info := Info{Version: "devel", Kubernetes: Kubernetes, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	if v := build.Main.Version; v != "" && v != "(devel)" {
		info.Version = v
	}
	dirty := false
	for _, setting := range build.Settings {
		switch setting.Key {
		case "vcs.revision":
			info.Commit = setting.Value
		case "vcs.modified":
			dirty = setting.Value == "true"
		}
	}
	if dirty && info.Commit != "" {
		info.Commit += "-dirty"
	}
	return info
}
