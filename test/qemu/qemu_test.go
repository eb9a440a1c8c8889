// SPDX-License-Identifier: Apache-2.0

package qemu_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"eastwest/test/qemu"
)

var (
	packages = flag.String("packages", "", "run the tests of these packages alone, separated by spaces")
	pattern  = flag.String("tests", ".", "and of these only the tests whose names match")
	modules  = flag.String("modules", "", "with these kernel modules loaded, separated by spaces")
	programs = flag.String("bin", "", "folder of the programs that make build builds; without it no cluster is brought up")
	cache    = flag.String("cache", "", "folder that keeps Debian's kernel (default: eastwest/qemu in the user's cache folder)")
)

// suite is what Debian's kernel has to show. A package that needs what other kernels lack adds its line here.
var suite = []struct {
	name     string
	packages []string
	tests    string
	modules  []string
}{
	{name: "proxy", packages: []string{"./internal/node"}, tests: "Proxy|NetworkFollows", modules: []string{"ip_vs"}},
	{name: "connection tracking", packages: []string{"./internal/kernel/conntrack"}, tests: ".", modules: []string{"nf_conntrack"}},
	{name: "nftables", packages: []string{"./internal/dataplane/services/nftables", "./internal/dataplane/services/iptables", "./internal/kernel/nft"}, tests: "Conformance|RestartRewrites|TheirSlots|Lookup", modules: []string{"sctp"}},
	{name: "elements that expire", packages: []string{"./internal/cni/nftset"}, tests: ".", modules: []string{"nf_tables"}},
	{name: "VLANs of bridges", packages: []string{"./internal/cni/program"}, tests: "VLAN", modules: []string{"bridge", "veth", "8021q"}},
	{name: "IPVS", packages: []string{"./internal/dataplane/services/ipvs"}, tests: "Conformance|Schedulers|Listings|Emptied|Address|Affinity|HistoriesOnTheKernel", modules: []string{"ip_vs", "sctp"}},
	{name: "IPVS explained", packages: []string{"./internal/explain"}, tests: "Agree/ipvs/(cluster-ip|no-endpoints|unused|local-socket|source|external-policy)|Matrix/ipvs", modules: []string{"ip_vs", "sctp"}},
	{name: "containers' file systems", packages: []string{"./internal/cri/rootfs"}, tests: "."},
}

// Tests pass on Debian's kernel.
func TestDebiansKernel(t *testing.T) {
	t.Parallel()
	if *packages != "" {
		run(t, strings.Fields(*packages), *pattern, strings.Fields(*modules))
		return
	}
	for _, s := range suite {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			run(t, s.packages, s.tests, s.modules)
		})
	}
}

// A cluster on IPVS serves: the script that make cluster-test skips where the kernel has none.
func TestClusterOnIPVS(t *testing.T) {
	cluster(t, []string{"-script", "95-ipvs", "-kubeconfig", "none"}, "ip_vs")
}

// Pods get what they ask for of control groups of version 2 alone, which this machine may have beside version 1, and run by crun, which
// refuses both at once.
func TestClusterOnUnifiedControlGroups(t *testing.T) {
	cluster(t, []string{"-script", "3[79]-*"}, "nf_tables")
}

// cluster runs scripts of test/cluster in a machine of their own.
func cluster(t *testing.T, args []string, modules ...string) {
	t.Helper()
	if *packages != "" || *programs == "" {
		t.Skip("other packages are asked for, or -bin is not given")
	}
	t.Parallel()
	job := build(t, "./test/cluster")
	job.Args = append([]string{"-test.v", "-test.run=TestScripts", "-bin", "/programs"}, args...)
	m := qemu.Machine{
		Cache: cacheFolder(t), Modules: modules, Memory: 4096, Files: map[string]string{}, Jobs: []qemu.Job{job},
		Programs: []string{"runc", "crun", "conmon", "cat", "grep", "sleep", "mount", "umount", "find", "sort", "tail", "xargs", "echo", "sed"},
	}
	for _, name := range []string{"eastwest", "eastwest-server", "eastwest-node", "eastwest-cni", "eastwest-tool"} {
		m.Files["/programs/"+name] = filepath.Join(*programs, name)
	}
	boot(t, m)
}

// A test that fails in the machine is seen to fail.
func TestFailureIsSeen(t *testing.T) {
	if *packages != "" {
		t.Skip("other packages are asked for")
	}
	job := build(t, "./test/qemu/testdata/failing")
	var said bytes.Buffer
	err := qemu.Machine{Cache: cacheFolder(t), Jobs: []qemu.Job{job}, Output: &said}.Run(t.Context())
	var failed qemu.Failed
	if !errors.As(err, &failed) || failed.Code != 1 || !strings.Contains(said.String(), "this test always fails") {
		t.Errorf("%v, and the machine said:\n%s", err, said.String())
	}
}

func run(t *testing.T, packages []string, tests string, modules []string) {
	t.Helper()
	m := qemu.Machine{Cache: cacheFolder(t), Modules: modules}
	for _, name := range packages {
		job := build(t, name)
		job.Args = []string{"-test.v", "-test.run=" + tests, "-test.timeout=20m"}
		m.Jobs = append(m.Jobs, job)
	}
	boot(t, m)
}

func boot(t *testing.T, m qemu.Machine) {
	t.Helper()
	var said bytes.Buffer
	if m.Output = &said; testing.Verbose() {
		m.Output = os.Stdout
	}
	if err := m.Run(t.Context()); err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
}

// build compiles the tests of a package.
func build(t *testing.T, name string) qemu.Job {
	t.Helper()
	const root = "../.."
	binary := filepath.Join(t.TempDir(), "test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-c", "-o", binary, name)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v\n%s", name, err, out)
	}
	return qemu.Job{Binary: binary, Dir: filepath.Join(root, name)}
}

func cacheFolder(t *testing.T) string {
	t.Helper()
	if *cache != "" {
		return *cache
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "eastwest", "qemu")
}
