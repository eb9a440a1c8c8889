// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"eastwest/test/qemu/jobs"
)

// leftOut are modules that no test of a network needs.
var leftOut = []string{"kernel/fs", "kernel/drivers"}

// kept are those of them that a test does need.
var kept = []string{"kernel/fs/overlayfs", "kernel/drivers/net"}

// build makes the file system of the machine and returns its archive.
func (m Machine) build(ctx context.Context, dir string, k kernel) (string, error) {
	root := filepath.Join(dir, "root")
	for _, name := range []string{"dev", "proc", "sys", "tmp", "run", "root", "mnt", "var/tmp", "var/lib", "var/log", "etc", "opt", "usr/sbin", "usr/lib", "usr/lib64"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return "", fmt.Errorf("make the machine's folders: %w", err)
		}
	}
	for name, to := range map[string]string{"bin": "usr/sbin", "sbin": "usr/sbin", "usr/bin": "sbin", "lib": "usr/lib", "lib64": "usr/lib64"} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			return "", fmt.Errorf("make the machine's folders: %w", err)
		}
	}
	for _, program := range append(append([]string{}, always...), m.Programs...) {
		if err := addProgram(ctx, root, program); err != nil {
			return "", fmt.Errorf("copy %s into the machine: %w", program, err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost\n::1 localhost\n"), 0o644); err != nil {
		return "", fmt.Errorf("write the machine's names: %w", err)
	}
	for to, from := range m.Files {
		if err := copyFile(from, filepath.Join(root, to)); err != nil {
			return "", fmt.Errorf("copy %s into the machine: %w", from, err)
		}
	}
	if err := addModules(root, k); err != nil {
		return "", fmt.Errorf("copy the kernel's modules into the machine: %w", err)
	}
	if err := m.addJobs(root); err != nil {
		return "", fmt.Errorf("copy the tests into the machine: %w", err)
	}
	if err := buildInit(ctx, filepath.Join(root, "init")); err != nil {
		return "", err
	}
	return archive(ctx, root, filepath.Join(dir, "initramfs"))
}

// addProgram copies a program of this machine under its own name, with the libraries that it is linked with and, of
// iptables, those that it opens.
func addProgram(ctx context.Context, root, name string) error {
	path, err := lookPath(name)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	files := []string{}
	if strings.Contains(real, "xtables") {
		plugins, err := filepath.Glob("/usr/lib/*/xtables/*.so")
		if err != nil {
			return err
		}
		files = plugins
	}
	libraries, err := librariesOf(ctx, append([]string{real}, files...))
	if err != nil {
		return err
	}
	for _, file := range append(files, libraries...) {
		if err := copyFile(file, filepath.Join(root, merged(file))); err != nil {
			return err
		}
	}
	return copyFile(real, filepath.Join(root, "usr/sbin", name))
}

// merged returns a path of this machine as it is where /lib and the like are links into /usr.
func merged(path string) string {
	for _, top := range []string{"/bin/", "/sbin/", "/lib/", "/lib64/"} {
		if strings.HasPrefix(path, top) {
			return "/usr" + path
		}
	}
	return path
}

// librariesOf asks the loader.
func librariesOf(ctx context.Context, files []string) ([]string, error) {
	text, err := output(ctx, "", "ldd", files...)
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(text) {
		for _, field := range strings.Fields(line) {
			if strings.HasPrefix(field, "/") && !strings.HasSuffix(field, ":") {
				out = append(out, field)
			}
		}
	}
	return out, nil
}

func addModules(root string, k kernel) error {
	to := filepath.Join(root, "usr/lib/modules", k.release)
	return filepath.WalkDir(k.modules, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(k.modules, path)
		if err != nil || under(relative, leftOut) && !under(relative, kept) {
			return err
		}
		return copyFile(path, filepath.Join(to, relative))
	})
}

func under(path string, dirs []string) bool {
	for _, dir := range dirs {
		if strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}

func (m Machine) addJobs(root string) error {
	list := jobs.List{Modules: m.Modules}
	for i, j := range m.Jobs {
		dir := fmt.Sprintf("/tests/%d", i)
		to := filepath.Join(root, dir, "test")
		if err := copyFile(j.Binary, to); err != nil {
			return err
		}
		if data := filepath.Join(j.Dir, "testdata"); j.Dir != "" {
			if _, err := os.Stat(data); err == nil {
				if err := os.CopyFS(filepath.Join(root, dir, "testdata"), os.DirFS(data)); err != nil {
					return err
				}
			}
		}
		list.Jobs = append(list.Jobs, jobs.Job{Dir: dir, Args: j.Args, Env: j.Env})
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, jobs.File), text, 0o644)
}

// buildInit builds the first program of the machine.
func buildInit(ctx context.Context, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, "eastwest/test/qemu/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the machine's first program: %w: %s", err, out)
	}
	return nil
}

// copyFile copies a file once, and links where that does.
func copyFile(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if os.Link(real, to) == nil {
		return nil
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(real)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, info.Mode().Perm())
}

// archive packs the folder as the kernel unpacks it.
func archive(ctx context.Context, root, to string) (string, error) {
	path, err := lookPath("cpio")
	if err != nil {
		return "", err
	}
	var names strings.Builder
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		fmt.Fprintln(&names, relative)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("list the machine's files: %w", err)
	}
	cmd := exec.CommandContext(ctx, path, "--create", "--format=newc", "--quiet", "--owner=0:0", "--file="+to)
	cmd.Dir, cmd.Stdin = root, strings.NewReader(names.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("pack the machine's files: %w: %s", err, out)
	}
	return to, nil
}
