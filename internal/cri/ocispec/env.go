// SPDX-License-Identifier: Apache-2.0

package ocispec

import "strings"

// defaultPath is what a container without PATH gets, as with other runtimes.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is the image's with the container's over it; a later value of a name replaces the earlier in place.
func environment(in Input) []string {
	env := []string{defaultPath}
	if in.Container.GetTty() {
		env = append(env, "TERM=xterm")
	}
	if host := in.Sandbox.GetHostname(); host != "" {
		env = append(env, "HOSTNAME="+host)
	}
	for _, e := range in.Image.Env {
		env = setEnv(env, e)
	}
	for _, e := range in.Container.GetEnvs() {
		env = setEnv(env, e.GetKey()+"="+string(e.GetValue()))
	}
	return env
}

func setEnv(env []string, entry string) []string {
	name, _, _ := strings.Cut(entry, "=")
	for i, have := range env {
		if n, _, _ := strings.Cut(have, "="); n == name {
			env[i] = entry
			return env
		}
	}
	return append(env, entry)
}
