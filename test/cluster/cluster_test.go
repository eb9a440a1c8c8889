// SPDX-License-Identifier: Apache-2.0

// Package cluster runs the scripts in testdata against a real cluster of three nodes on this machine: what a person types,
// and what comes of it. It needs root and the programs of `make build`.
package cluster

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	local "eastwest/internal/cluster"
	"eastwest/internal/kernel/ipvs"
)

var (
	programs = flag.String("bin", "", "folder of the programs that make build builds")
	only     = flag.String("script", "*", "names of the scripts to run, without .txtar")
	kubectl  = flag.String("kubectl", "", "the kubectl to use; eastwest's own without it")
	runtimes = flag.String("runtimes", "/var/cache/eastwest/runtimes", "folder of other container runtimes, where nodes see it; scripts/runtimes.sh fills it")
	clients  = flag.String("clients", "", "folder of the clients that make clients-test builds; without it their scripts are skipped")
	running  = flag.String("kubeconfig", "", "use the cluster that is up, with its kubeconfig, and leave it up")
	// The scripts share one cluster; scripts that need another make their own.
	name = flag.String("name", "scripts", "name of the cluster; some scripts know the nodes by \"scripts\"")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *programs == "" {
		fmt.Fprintln(os.Stderr, "skipped: give the programs' folder with -args -bin DIR, as make cluster-test does")
		return
	}
	os.Exit(run(m))
}

// run brings the cluster up once for all scripts: bringing it up is a script of its own.
func run(m *testing.M) int {
	work, err := os.MkdirTemp("", "eastwest-cluster-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(work)
	if *running != "" {
		return runScripts(m, *running)
	}
	release, err := alone()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer release()
	kubeconfig := filepath.Join(work, "kubeconfig")
	if err := eastwest("up", "--name", *name, "--kubeconfig", kubeconfig, "--wait", "8m"); err != nil {
		fmt.Fprintln(os.Stderr, "bring the cluster up:", err)
		if err := eastwest("down", "--name", *name); err != nil {
			fmt.Fprintln(os.Stderr, "take the cluster down:", err)
		}
		return 1
	}
	status := runScripts(m, kubeconfig)
	if err := eastwest("down", "--name", *name); err != nil {
		fmt.Fprintln(os.Stderr, "take the cluster down:", err)
		return 1
	}
	return status
}

func runScripts(m *testing.M, kubeconfig string) int {
	if err := os.Setenv("SCRIPTS_KUBECONFIG", kubeconfig); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func eastwest(args ...string) error {
	cmd := exec.Command(filepath.Join(*programs, "eastwest"), args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// The scripts share one cluster, so they run one after the other, in the order of their names.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/" + *only + ".txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		ok := t.Run(filepath.Base(file), func(t *testing.T) {
			testscript.RunT(sequential{t}, testscript.Params{
				Files: []string{file}, Setup: environment, Cmds: commands(), Condition: installed, RequireExplicitExec: true,
			})
		})
		if !ok {
			diagnose(t)
		}
	}
}

// sequential keeps testscript from running scripts in parallel.
type sequential struct{ *testing.T }

func (s sequential) Parallel()     {}
func (s sequential) Verbose() bool { return testing.Verbose() }
func (s sequential) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(sequential{t}) })
}

func environment(env *testscript.Env) error {
	programs, err := filepath.Abs(*programs)
	if err != nil {
		return err
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	env.Setenv("EASTWEST", filepath.Join(programs, "eastwest"))
	programs += ":" + *runtimes
	if *clients != "" {
		programs += ":" + *clients
	}
	env.Setenv("PATH", programs+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH"))
	env.Setenv("KUBECONFIG", os.Getenv("SCRIPTS_KUBECONFIG"))
	env.Setenv("CLUSTER", *name)
	env.Setenv("EASTWEST_LOCAL_RUN_DIR", cmp.Or(os.Getenv("EASTWEST_LOCAL_RUN_DIR"), local.DefaultRunDir))
	env.Setenv("EASTWEST_LOCAL_STATE_DIR", cmp.Or(os.Getenv("EASTWEST_LOCAL_STATE_DIR"), local.DefaultStateDir))
	env.Setenv("REPOSITORY", repository)
	for _, key := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS"} {
		if value, err := exec.Command("go", "env", key).Output(); err == nil {
			env.Setenv(key, string(value[:len(value)-1]))
		}
	}
	return nil
}

// installed says whether something is here that scripts use and that no step of the build installs.
func installed(client string) (bool, error) {
	switch client {
	case "python3-kubernetes":
		return exec.Command("/usr/bin/python3", "-c", "import kubernetes").Run() == nil, nil
	case "ipvs":
		return ipvs.Check() == nil, nil
	case "crun":
		_, missing := exec.LookPath("crun")
		_, mixed := os.Stat("/sys/fs/cgroup/cgroup.controllers") // is there when version 2 is all there is
		return missing == nil && mixed == nil, nil
	case "runtimes":
		_, err := os.Stat(filepath.Join(*runtimes, "containerd"))
		return err == nil, nil
	case "cri-dockerd":
		_, err := os.Stat(filepath.Join(*runtimes, "cri-dockerd"))
		return err == nil, nil
	case "kubelet":
		_, err := os.Stat(filepath.Join(*programs, "kubelet"))
		return err == nil, nil
	case "clients":
		return *clients != "", nil
	}
	return false, fmt.Errorf("unknown condition %q", client)
}

// diagnose prints what a person would look at first.
func diagnose(t *testing.T) {
	for _, args := range [][]string{
		{"kubectl", "get", "nodes,pods,services,endpointslices", "-A", "-o", "wide"},
		{"kubectl", "get", "events", "-A", "--sort-by=.lastTimestamp"},
		{"node", "list", "--name", *name},
		{"node", "logs", *name + "-control-plane", "--name", *name, "--tail", "60"},
		{"node", "logs", *name + "-worker", "--name", *name, "--tail", "60"},
		{"node", "logs", *name + "-worker2", "--name", *name, "--tail", "60"},
	} {
		cmd := exec.Command(filepath.Join(*programs, "eastwest"), args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+os.Getenv("SCRIPTS_KUBECONFIG"))
		out, err := cmd.CombinedOutput()
		t.Logf("eastwest %v: %v\n%s", args, err, out)
	}
}
