// SPDX-License-Identifier: Apache-2.0

package suites

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"eastwest/test/qemu"
)

var (
	programs = flag.String("bin", "", "folder of the programs that make build builds")
	only     = flag.String("only", "", "run the suite of this plugin alone, such as main/ptp")
	emulate  = flag.Bool("qemu", false, "run on Debian's kernel, in a machine that qemu emulates, what depends on the kernel")
)

// arguments of a suite: no colours, and a summary of what failed.
var arguments = []string{"-ginkgo.no-color", "-test.timeout=40m", "-test.v"}

// program returns the program, for a test that needs it.
func program(t *testing.T) string {
	t.Helper()
	if *programs == "" {
		t.Skip("give the programs' folder with -args -bin DIR, as make cni-test does")
	}
	path, err := filepath.Abs(filepath.Join(*programs, "eastwest-cni"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Every spec of the reference's suites passes on our plugins, or is listed with a reason.
func TestReferenceSuites(t *testing.T) {
	if *emulate {
		t.Skip("asked for Debian's kernel")
	}
	cni, dir := program(t), t.TempDir()
	ours := filepath.Join(dir, "bin")
	if out, err := exec.Command(cni, "install", "--dir", ours).CombinedOutput(); err != nil {
		t.Fatalf("install our plugins: %v: %s", err, out)
	}
	source, err := newTree(filepath.Join(dir, "source"), ours, kernelHas("ip link add x type dummy"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[need]bool{vlanFiltering: kernelHas("ip link add x type bridge && ip link set x type bridge vlan_filtering 1")}
	for _, p := range Plugins {
		if *only != "" && p != *only {
			continue
		}
		t.Run(p, func(t *testing.T) {
			suite := filepath.Join(dir, "suite")
			if err := source.build(p, suite); err != nil {
				t.Fatal(err)
			}
			c := apart(suite, arguments...)
			c.Dir = filepath.Join(source.dir, "plugins", p)
			c.Env = append(os.Environ(), "PATH="+ours+":"+os.Getenv("PATH"))
			out, err := c.CombinedOutput()
			judge(t, p, string(out), err, have)
		})
	}
}

// What this machine's kernel may lack, Debian's has: VLANs of bridges, and devices of the kind dummy.
func TestReferenceSuitesOnDebiansKernel(t *testing.T) {
	if !*emulate {
		t.Skip("not asked for: -args -qemu")
	}
	cni, dir := program(t), t.TempDir()
	source, err := newTree(filepath.Join(dir, "source"), "/plugins", true)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"main/bridge", "main/macvlan", "meta/tuning"} {
		if *only != "" && p != *only {
			continue
		}
		t.Run(p, func(t *testing.T) {
			suite := filepath.Join(dir, "suite")
			if err := source.build(p, suite); err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			m := qemu.Machine{
				Cache: filepath.Join(cache, "eastwest", "qemu"), Modules: []string{"bridge", "veth", "8021q", "dummy", "macvlan"}, Output: &said,
				Files: map[string]string{},
				Jobs:  []qemu.Job{{Binary: suite, Args: arguments, Env: []string{"PATH=/plugins:/usr/sbin:/usr/bin"}}},
			}
			for _, name := range []string{"bridge", "macvlan", "host-local", "tuning"} {
				m.Files["/plugins/"+name] = cni
			}
			err := m.Run(t.Context())
			var failed qemu.Failed
			if err != nil && !errors.As(err, &failed) {
				t.Fatal(err)
			}
			judge(t, p, said.String(), err, map[need]bool{vlanFiltering: true})
		})
	}
}

// judge compares what a suite said with what is known of it.
func judge(t *testing.T, plugin, out string, err error, have map[need]bool) {
	t.Helper()
	o, unread := read(out)
	if unread != nil {
		t.Fatalf("%v (%v)", unread, err)
	}
	if o.ran == 0 {
		t.Error("no spec ran")
	}
	failed := 0
	for _, times := range o.failed {
		failed += times
	}
	complaints := o.complaints(knownFor(plugin, have))
	for _, c := range complaints {
		t.Error(c)
	}
	if len(complaints) > 0 {
		file := filepath.Join(os.TempDir(), "suite-"+filepath.Base(plugin)+".log")
		t.Logf("what the suite printed is in %s (%v)", file, os.WriteFile(file, []byte(out), 0o600))
	}
	fmt.Printf("%-16s %d specs, %d failed\n", plugin, o.ran, failed)
}

// kernelHas reports whether this machine's kernel does what a script asks, in a namespace of its own.
func kernelHas(script string) bool {
	return exec.Command("unshare", "-n", "sh", "-c", script).Run() == nil
}
