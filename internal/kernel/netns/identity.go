// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Identity names the network namespace at path, or the program's own when path is empty, among all that this machine and others
// ever had: by the boot of the machine, and the kernel's number for the namespace in it.
func Identity(path string) (name string, err error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read which boot this is: %w", err)
	}
	ask := func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		name = fmt.Sprintf("%s %d", strings.TrimSpace(string(boot)), cookie)
		return err
	}
	if path != "" {
		err = Do(path, ask)
	} else {
		err = ask()
	}
	if err != nil {
		return "", fmt.Errorf("ask for the kernel's number of the network namespace: %w", err)
	}
	return name, nil
}
