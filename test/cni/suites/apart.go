// SPDX-License-Identifier: Apache-2.0

package suites

import "os/exec"

// apart is a command that leaves this machine as it was. Namespaces that failed specs leave pinned go with the mount
// namespace; what a suite sets of the host, as portmap's does with ip_forward, goes with the network namespace.
func apart(program string, args ...string) *exec.Cmd {
	const prepare = `mkdir -p /run/netns && mount -t tmpfs suites /run/netns && ip link set lo up && exec "$@"`
	return exec.Command("unshare", append([]string{"-m", "-n", "sh", "-c", prepare, "sh", program}, args...)...)
}
