// SPDX-License-Identifier: Apache-2.0

// Package cni runs the plugins under real clients: containernetworking's cnitool, and podman and containerd from Debian. Each test gets
// its client, unpacks it into a folder of its own and installs nothing.
package cni

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"eastwest/internal/cni/cnitest"
	"eastwest/internal/cni/entry"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
)

var programs = flag.String("bin", "", "folder of the programs that make build builds")

func TestMain(m *testing.M) {
	flag.Parse()
	if *programs == "" {
		fmt.Fprintln(os.Stderr, "skipped: give the programs' folder with -args -bin DIR, as make cni-test does")
		return
	}
	os.Exit(m.Run())
}

// host is a network namespace that stands for a host, with the plugins installed.
type host struct {
	t       *testing.T
	ns, dir string
	plugins string
	env     []string
	// mounts are folders of the system that the client shall have for itself, with what it gets instead.
	mounts map[string]string
	holder *os.Process // keeps the mount namespace of all commands, which starts with the first one
	served bool        // "eastwest cni serve" runs
}

// eachWay runs a test with plugins that do their calls themselves, and with "eastwest cni serve" doing them.
func eachWay(t *testing.T, test func(t *testing.T, h *host)) {
	t.Run("alone", func(t *testing.T) { test(t, newHost(t)) })
	t.Run("served", func(t *testing.T) {
		h := newHost(t)
		h.served = true
		h.own("/run/eastwest")
		test(t, h)
	})
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, ns: netnstest.New(t), dir: t.TempDir(), mounts: map[string]string{}}
	h.plugins = filepath.Join(h.dir, "plugins")
	if out, err := exec.Command(filepath.Join(*programs, "eastwest-cni"), "install", "--dir", h.plugins).CombinedOutput(); err != nil {
		t.Fatalf("install the plugins: %v\n%s", err, out)
	}
	cnitest.RunIn(t, h.ns, "ip", "link", "set", "lo", "up")
	return h
}

// try runs a command on the host and returns what it printed on both outputs. Commands share a mount namespace, since
// clients pin network namespaces as mounts.
func (h *host) try(command ...string) (string, error) {
	if h.holder == nil {
		if err := h.hold(); err != nil {
			return "", err
		}
	}
	c := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(h.holder.Pid), "-m", "--"}, command...)...)
	c.Env = append(os.Environ(), h.env...)
	var out []byte
	err := netns.Do(h.ns, func() (err error) {
		out, err = c.CombinedOutput()
		return err
	})
	return string(out), err
}

// hold starts the process that keeps the mount namespace; it says when its mounts are there.
func (h *host) hold() error {
	script := ""
	for system, own := range h.mounts {
		script += fmt.Sprintf("mount --bind %s %s && ", own, system)
	}
	c := exec.Command("unshare", "-m", "sh", "-c", script+"echo ready && exec sleep infinity")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return err
	}
	h.holder = c.Process
	h.t.Cleanup(func() {
		c.Process.Kill()
		_ = c.Wait()
	})
	if _, err = bufio.NewReader(out).ReadString('\n'); err != nil || !h.served {
		return err
	}
	return h.serve()
}

// serve starts the program that does the plugins' calls; the test fails if it is never called.
func (h *host) serve() error {
	var log bytes.Buffer
	c := exec.Command("nsenter", "-t", strconv.Itoa(h.holder.Pid), "-m", "--", filepath.Join(*programs, "eastwest"), "cni", "serve", "-v")
	c.Stderr = &log
	if err := netns.Do(h.ns, c.Start); err != nil {
		return err
	}
	h.t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		err := c.Wait()
		if err != nil || !strings.Contains(log.String(), "plugin called") {
			h.t.Errorf("the server of plugins ended with %v and did nothing:\n%s", err, log.String())
		}
	})
	socket := filepath.Join(h.mounts["/run/eastwest"], filepath.Base(entry.Socket))
	for range 500 {
		if _, err := os.Stat(socket); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("no socket %s", socket)
}

func (h *host) run(command ...string) string {
	h.t.Helper()
	out, err := h.try(command...)
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return out
}

// own gives the client a folder of its own in place of one of the system's, which must be there.
func (h *host) own(system string) string {
	h.t.Helper()
	own := filepath.Join(h.dir, "own", system)
	for _, dir := range []string{own, system} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			h.t.Fatal(err)
		}
	}
	h.mounts[system] = own
	return own
}

// unpack downloads Debian packages and unpacks them into a folder, which it returns.
func unpack(t *testing.T, packages ...string) string {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("apt-get is missing: this test's client comes from Debian")
	}
	dir := t.TempDir()
	download := exec.Command("apt-get", append([]string{"-q", "download"}, packages...)...)
	download.Dir = dir
	if out, err := download.CombinedOutput(); err != nil {
		t.Fatalf("download %v (run apt-get update if the lists are missing): %v\n%s", packages, err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no package was downloaded: %v", err)
	}
	root := filepath.Join(dir, "root")
	for _, file := range files {
		if out, err := exec.Command("dpkg-deb", "-x", file, root).CombinedOutput(); err != nil {
			t.Fatalf("unpack %s: %v\n%s", file, err, out)
		}
	}
	return root
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
