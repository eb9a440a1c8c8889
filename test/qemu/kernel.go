// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// metapackage depends on Debian's newest kernel for virtual machines.
const metapackage = "linux-image-cloud-amd64"

// kernel is Debian's, unpacked.
type kernel struct {
	image   string // the file to boot
	modules string // the folder lib/modules/RELEASE, with the lists of depmod
	release string
}

// fetchKernel returns the kernel in the cache, and downloads it when there is none.
func fetchKernel(ctx context.Context, cache string) (kernel, error) {
	root := filepath.Join(cache, "kernel")
	if k, err := findKernel(root); err == nil {
		return k, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return kernel{}, fmt.Errorf("make the cache folder of the kernel: %w", err)
	}
	name, err := kernelPackage(ctx)
	if err != nil {
		return kernel{}, err
	}
	dir, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return kernel{}, fmt.Errorf("make a folder for the kernel: %w", err)
	}
	defer os.RemoveAll(dir)
	if _, err := output(ctx, dir, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name); err != nil {
		return kernel{}, fmt.Errorf("download %s: %w", name, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(files) != 1 {
		return kernel{}, fmt.Errorf("download %s: %d files came", name, len(files))
	}
	if _, err := output(ctx, dir, "dpkg-deb", "-x", files[0], "root"); err != nil {
		return kernel{}, fmt.Errorf("unpack %s: %w", name, err)
	}
	unpacked := filepath.Join(dir, "root")
	k, err := findKernel(unpacked)
	if err != nil {
		return kernel{}, err
	}
	if err := index(ctx, unpacked, k.release); err != nil {
		return kernel{}, err
	}
	if err := os.Rename(unpacked, root); err != nil && !errors.Is(err, os.ErrExist) {
		return kernel{}, fmt.Errorf("keep the kernel: %w", err)
	}
	return findKernel(root)
}

// index writes the lists that modprobe reads, for which a package relies on being installed.
func index(ctx context.Context, root, release string) error {
	if _, err := output(ctx, root, "depmod", "-b", root, release); err != nil {
		return fmt.Errorf("list the modules of kernel %s: %w", release, err)
	}
	return nil
}

// kernelPackage asks apt for the package behind the metapackage.
func kernelPackage(ctx context.Context) (string, error) {
	text, err := output(ctx, "", "apt-cache", "depends", "--important", metapackage)
	if err != nil {
		return "", fmt.Errorf("look up %s (run apt-get update if the lists are missing): %w", metapackage, err)
	}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + name, nil
		}
	}
	return "", fmt.Errorf("look up %s: it depends on no kernel", metapackage)
}

func findKernel(root string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("find the kernel in %s: %d files boot/vmlinuz-*", root, len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	return kernel{image: images[0], release: release, modules: filepath.Join(root, "lib", "modules", release)}, nil
}

// output runs a program in dir and returns what it prints; the error carries its last words.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	path, err := lookPath(program)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// lookPath finds a program also where only root's PATH looks.
func lookPath(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, ok := executable(filepath.Join(dir, program)); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w (scripts/require.sh qemu installs what is missing)", err)
}

func executable(path string) (string, bool) {
	info, err := os.Stat(path)
	return path, err == nil && info.Mode()&0o111 != 0
}
