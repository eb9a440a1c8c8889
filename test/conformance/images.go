// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const e2eImages = "registry.k8s.io/e2e-test-images/"

// tools are the Debian packages whose programs the specs run in pods.
var tools = []string{
	"bash", "dash", "coreutils", "libc-bin", "grep", "sed", "gawk", "procps", "util-linux", "hostname", "busybox-static", "ca-certificates", // a shell's
	"iproute2", "iputils-ping", "bind9-dnsutils", "curl", "netcat-openbsd", "tcpdump", "iperf", "iperf3", "wget", // a network's
	"iptables", "nftables", "conntrack", "nginx-light",
}

// image is one of the archive: a root folder, what runs in it, and the names by which specs ask for it.
type image struct {
	root       string
	entrypoint []string
	command    []string
	user       string // by number; root where it is empty
	names      []string
}

// catalogue lists the images. Where upstream has an image of its own for one program, ours is the same tools with another
// command: specs see programs, not packages.
func catalogue() []image {
	agnhost := []string{"/agnhost"}
	return []image{
		{root: "tools", entrypoint: agnhost, command: []string{"pause"}, names: named("agnhost", "2.63.0", "2.55", "2.45", "2.43")},
		{root: "tools", entrypoint: []string{"/agnhost", "pause"}, names: []string{"registry.k8s.io/pause:3.10.2", "registry.k8s.io/pause:3.6"}},
		{root: "tools", command: []string{"bash"},
			names: append(named("glibc-dns-testing", "2.0.0"), "registry.k8s.io/build-image/distroless-iptables:v0.9.6")},
		{root: "tools", command: []string{"nginx", "-g", "daemon off;"},
			names: append(named("nginx", "1.14-2", "1.15-4", "1.27-0"), named("httpd", "2.4.39-4")...)},
		{root: "tools", entrypoint: []string{"/regression-issue-74839"}, names: named("regression-issue-74839", "1.4")},
		{root: "tools", entrypoint: agnhost, command: []string{"test-webserver"}, names: append(named("nautilus", "1.8"), named("kitten", "1.8")...)},
		{root: "tools", command: []string{"/usr/local/bin/nnp"}, names: named("nonewprivs", "1.4")},
		{root: "tools", command: []string{"bash"}, user: "1234", names: named("nonroot", "1.5")},
		{root: "tools", command: []string{"bash"}, names: append(named("ipc-utils", "1.4"), named("perl", "5.26")...)},
		{root: "servers", entrypoint: []string{"/sample-apiserver"}, names: named("sample-apiserver", "1.29.2")},
		{root: "servers", command: []string{"/usr/local/bin/etcd"}, names: []string{"registry.k8s.io/etcd:3.6.8-0"}},
		{root: "busybox", command: []string{"sh"}, names: named("busybox", "1.29-2", "1.36.1-1", "1.37.0-1")},
	}
}

func named(name string, tags ...string) []string {
	var names []string
	for _, tag := range tags {
		names = append(names, e2eImages+name+":"+tag)
	}
	return names
}

// buildImagesOnce builds the archive unless it is there already, made in the way that this program would make it.
func buildImagesOnce(ctx context.Context, out string) error {
	archive, madeBy := filepath.Join(out, "images.tar"), filepath.Join(out, "images.key")
	key, err := recipe(out)
	if err != nil {
		return err
	}
	have, _ := os.ReadFile(madeBy) // none is another
	if _, err := os.Stat(archive); err == nil && string(have) == key {
		return nil
	}
	fmt.Fprintln(os.Stderr, "building images.tar")
	if err := buildImages(ctx, out, archive); err != nil {
		return err
	}
	return os.WriteFile(madeBy, []byte(key), 0o644)
}

// recipe stands for all that images are made of: what is said here, and the programs as they were built.
func recipe(out string) (string, error) {
	sum := sha256.New()
	fmt.Fprint(sum, catalogue(), programs(), tools, accounts, alternatives, files)
	for _, program := range programs() {
		file, err := os.Open(filepath.Join(out, program.name))
		if err != nil {
			return "", fmt.Errorf("read program %s: %w", program.name, err)
		}
		_, err = io.Copy(sum, file)
		file.Close()
		if err != nil {
			return "", fmt.Errorf("read program %s: %w", program.name, err)
		}
	}
	return fmt.Sprintf("%x\n", sum.Sum(nil)), nil
}

// buildImages fills the root folders and writes them into one archive.
func buildImages(ctx context.Context, out, archive string) error {
	work := filepath.Join(out, "images")
	if err := os.RemoveAll(filepath.Join(work, "root")); err != nil {
		return fmt.Errorf("clear the folder for images: %w", err)
	}
	full, small := filepath.Join(work, "root", "tools"), filepath.Join(work, "root", "busybox")
	if err := unpackPackages(ctx, filepath.Join(work, "packages"), full); err != nil {
		return err
	}
	if err := finishTools(ctx, out, full); err != nil {
		return fmt.Errorf("finish image tools: %w", err)
	}
	if err := finishBusybox(ctx, full, small); err != nil {
		return fmt.Errorf("finish image busybox: %w", err)
	}
	if err := finishServers(out, filepath.Join(work, "root", "servers")); err != nil {
		return fmt.Errorf("finish image servers: %w", err)
	}
	return writeArchive(archive, filepath.Join(work, "root"), catalogue())
}

// unpackPackages downloads the tools and all that they depend on, as if nothing were installed, and unpacks them.
func unpackPackages(ctx context.Context, cache, root string) error {
	if err := os.MkdirAll(filepath.Join(cache, "partial"), 0o755); err != nil {
		return fmt.Errorf("create folder for packages: %w", err)
	}
	none := filepath.Join(cache, "status")
	if err := os.WriteFile(none, nil, 0o644); err != nil {
		return fmt.Errorf("write an empty list of packages: %w", err)
	}
	args := append([]string{"-qq", "-y", "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1", "-o", "Dir::State::status=" + none,
		"-o", "Dir::Cache::archives=" + cache, "--no-install-recommends", "--download-only", "install"}, tools...)
	if err := call(ctx, "apt-get", args...); err != nil {
		return fmt.Errorf("download Debian packages (run apt-get update if the lists are missing): %w", err)
	}
	if err := mergedUsr(root); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(cache, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range packages {
		if err := unpack(ctx, file, root); err != nil {
			return err
		}
	}
	return nil
}

// mergedUsr makes /bin and its like links into /usr, as Debian has them.
func mergedUsr(root string) error {
	for _, folder := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", folder), 0o755); err != nil {
			return fmt.Errorf("create root folder: %w", err)
		}
		if err := os.Symlink("usr/"+folder, filepath.Join(root, folder)); err != nil {
			return fmt.Errorf("link %s: %w", folder, err)
		}
	}
	return nil
}

func unpack(ctx context.Context, deb, root string) error {
	from := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	to := exec.CommandContext(ctx, "tar", "-x", "-C", root, "--keep-directory-symlink",
		"--exclude=./usr/share/doc", "--exclude=./usr/share/man", "--exclude=./usr/share/locale")
	content, err := from.Output()
	if err != nil {
		return fmt.Errorf("read package %s: %w", filepath.Base(deb), err)
	}
	to.Stdin = strings.NewReader(string(content))
	if text, err := to.CombinedOutput(); err != nil {
		return fmt.Errorf("unpack package %s: %w: %s", filepath.Base(deb), err, text)
	}
	return nil
}
