// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// accounts are the users that specs run containers as.
var accounts = map[string]string{
	"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n" +
		"user-defined-in-image:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
	"etc/group":         "root:x:0:\nwww-data:x:33:\ngroup-defined-in-image:x:50000:user-defined-in-image\nnogroup:x:65534:\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}

// alternatives are the links that the packages' set-up programs would have made, and wget, which Debian has apart.
var alternatives = map[string]string{
	"usr/bin/sh": "dash", "usr/bin/awk": "gawk", "usr/bin/nc": "nc.openbsd", "usr/bin/wget": "busybox",
	"usr/sbin/iptables": "xtables-nft-multi", "usr/sbin/iptables-save": "xtables-nft-multi", "usr/sbin/iptables-restore": "xtables-nft-multi",
	"usr/sbin/ip6tables": "xtables-nft-multi", "usr/sbin/ip6tables-save": "xtables-nft-multi", "usr/sbin/ip6tables-restore": "xtables-nft-multi",
	"agnhost-2": "agnhost",
}

// files are what servers serve: nginx, and agnhost in the place of the image nautilus.
var files = map[string]string{
	"etc/nginx/sites-enabled/default": "server { listen 80 default_server; root /var/www/html; }\n",
	"var/www/html/index.html":         "<html><body>It works!</body></html>\n",
	"data.json":                       `{"image": "nautilus.jpg"}` + "\n",
}

// finishTools adds to the packages' files what their set-up would have, and the suite's own programs.
func finishTools(ctx context.Context, out, root string) error {
	if err := finishCommon(root); err != nil {
		return err
	}
	site := filepath.Join(root, "etc/nginx/sites-enabled/default")
	if err := errors.Join(os.RemoveAll(site), os.MkdirAll(filepath.Join(root, "uploads"), 0o755), os.MkdirAll(filepath.Join(root, "var/log/nginx"), 0o755)); err != nil {
		return err
	}
	if err := writeAll(root, files); err != nil {
		return err
	}
	for name, target := range alternatives {
		path := filepath.Join(root, name)
		if err := errors.Join(os.RemoveAll(path), os.Symlink(target, path)); err != nil {
			return err
		}
	}
	return copyPrograms(ctx, out, root)
}

// copyPrograms adds agnhost and its like. The certificate that one of agnhost's servers presents lies beside its source.
func copyPrograms(ctx context.Context, out, root string) error {
	folder, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", agnhostPackage+"/porter").Output()
	if err != nil {
		return fmt.Errorf("find the source of agnhost: %w", err)
	}
	source := strings.TrimSpace(string(folder))
	for from, mode := range map[string]os.FileMode{
		filepath.Join(out, "agnhost"): 0o755, filepath.Join(out, "regression-issue-74839"): 0o755,
		filepath.Join(out, "coredns"):          0o755,
		filepath.Join(source, "localhost.crt"): 0o644, filepath.Join(source, "localhost.key"): 0o644,
	} {
		if err := copyFile(from, filepath.Join(root, filepath.Base(from)), mode); err != nil {
			return err
		}
	}
	// It tells with whose rights it runs, which are root's unless the pod forbids it.
	nnp := filepath.Join(root, "usr/local/bin/nnp")
	if err := os.MkdirAll(filepath.Dir(nnp), 0o755); err != nil {
		return err
	}
	return copyFile(filepath.Join(out, "nnp"), nnp, 0o755|os.ModeSetuid)
}

// finishServers makes the image of an aggregated API server and its etcd, which need nothing but themselves.
func finishServers(out, root string) error {
	if err := finishCommon(root); err != nil {
		return err
	}
	bin := filepath.Join(root, "usr/local/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	return errors.Join(
		copyFile(filepath.Join(out, "sample-apiserver"), filepath.Join(root, "sample-apiserver"), 0o755),
		copyFile(filepath.Join(out, "etcd"), filepath.Join(bin, "etcd"), 0o755))
}

// finishBusybox makes the small image: one program under many names.
func finishBusybox(ctx context.Context, full, root string) error {
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		return err
	}
	program := filepath.Join(root, "bin/busybox")
	if err := copyFile(filepath.Join(full, "usr/bin/busybox"), program, 0o755); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, program, "--list").Output()
	if err != nil {
		return fmt.Errorf("list busybox's programs: %w", err)
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			return err
		}
	}
	return finishCommon(root)
}

// finishCommon adds users, and the folders that a container expects.
func finishCommon(root string) error {
	for _, folder := range []string{"etc", "proc", "sys", "dev", "run", "root", "var", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky); err != nil {
		return err
	}
	return writeAll(root, accounts)
}

func writeAll(root string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, content, mode), os.Chmod(to, mode))
}
