// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds how long a script waits for something to become true.
const patience = 3 * time.Minute

// commands are what scripts have besides testscript's own:
//
//	kubectl ARG…                        eastwest kubectl, or the one that -kubectl names
//	until PATTERN COMMAND ARG…          repeats the command until it succeeds and prints what matches
//	until-fails PATTERN COMMAND ARG…    repeats the command until it fails and prints what matches
//	until-not PATTERN COMMAND ARG…      repeats the command until it succeeds and prints nothing that matches
//	exec-on NODE COMMAND ARG…           runs a command on a node; the three above take it as a command, too
//	in-pod POD NODE COMMAND ARG…        runs a program of the pod's image in the pod's network namespace, with no agent's help
//	set NAME COMMAND ARG…               sets a variable to what the command prints
//	same NAME NAME                      fails when two variables differ
//	each-line NAME COMMAND ARG…         runs the command for each line of a variable, with the line in place of %
//	kill-9 server|agent NODE            kills a process of a node
//	image NAME FILE                     builds a test image, once for all scripts
//	gotest PACKAGE                      runs the tests of a package, with the script's environment
//	at-end COMMAND ARG…                 runs the command when the script has ended, however that was
//	traces CLUSTER                      prints what the host shows of a cluster: links, mounts, tables, groups, processes, files
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"kubectl": func(ts *testscript.TestScript, neg bool, args []string) {
			run1(ts, neg, append([]string{"kubectl"}, args...))
		},
		"exec-on": func(ts *testscript.TestScript, neg bool, args []string) {
			run1(ts, neg, append([]string{"exec-on"}, args...))
		},
		"until":       func(ts *testscript.TestScript, neg bool, args []string) { repeat(ts, neg, args, found) },
		"until-fails": func(ts *testscript.TestScript, neg bool, args []string) { repeat(ts, neg, args, failed) },
		"until-not":   func(ts *testscript.TestScript, neg bool, args []string) { repeat(ts, neg, args, gone) },
		"set":         set,
		"same":        same,
		"each-line":   eachLine,
		"kill-9":      kill,
		"image":       image,
		"gotest":      goTest,
		"at-end": func(ts *testscript.TestScript, _ bool, args []string) {
			cmd := command(ts, args)
			ts.Defer(func() { _ = cmd.Run() }) // what the script itself ended is gone
		},
	}
}

// expand turns the short forms of commands into programs and their arguments.
func expand(ts *testscript.TestScript, args []string) []string {
	switch args[0] {
	case "kubectl":
		if *kubectl != "" {
			return append([]string{*kubectl}, args[1:]...)
		}
		return append([]string{"eastwest"}, args...)
	case "exec-on":
		return append([]string{"eastwest", "node", "exec", args[1], "--"}, args[2:]...)
	case "traces":
		return []string{"sh", "-c", traces, "sh", args[1]}
	case "in-pod":
		return inPod(ts, args[1], args[2], args[3:])
	}
	return args
}

// traces looks for a cluster's name wherever a cluster leaves something; $1 is its name.
const traces = `{ ip -o link; nft list tables; cat /proc/self/mountinfo; find /sys/fs/cgroup -path "*/eastwest/$1*"
ls "$EASTWEST_LOCAL_STATE_DIR/clusters" "$EASTWEST_LOCAL_RUN_DIR/clusters" 2>/dev/null; ps -eo args; } | grep -e "$1" | grep -v -e grep -e "sh $1" || true`

// inPod runs eastwest-tool of the node in the pod's network namespace, found by its address as the texts do it.
func inPod(ts *testscript.TestScript, pod, node string, args []string) []string {
	ip, err := command(ts, []string{"kubectl", "get", "pod", pod, "-o", "jsonpath={.status.podIP}"}).Output()
	ts.Check(err)
	script := `for ns in $(ip netns list | cut -d" " -f1); do ip netns exec $ns ip -o address | grep -q "inet ` + string(ip) + `/" && break; done
program=$1; shift
exec nsenter --net=/run/netns/$ns /proc/$(ip netns pids $ns | head -n 1)/root$program "$@"`
	return append([]string{"eastwest", "node", "exec", node, "--", "sh", "-c", script, "sh"}, args...)
}

// command makes a command of the script's environment.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	args = expand(ts, args)
	path := args[0]
	if !strings.Contains(path, "/") {
		for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
			if info, err := os.Stat(filepath.Join(dir, args[0])); err == nil && info.Mode()&0o111 != 0 {
				path = filepath.Join(dir, args[0])
				break
			}
		}
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = []string{"HOME=" + ts.Getenv("WORK"), "TERM=dumb"}
	for _, key := range []string{"PATH", "KUBECONFIG", "CLUSTER", "EASTWEST", "EASTWEST_LOCAL_RUN_DIR", "EASTWEST_LOCAL_STATE_DIR", "EASTWEST_ARTICLE_NODES", "EASTWEST_CLIENTS", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS"} {
		cmd.Env = append(cmd.Env, key+"="+ts.Getenv(key))
	}
	return cmd
}

func run1(ts *testscript.TestScript, neg bool, args []string) {
	var stdout, stderr bytes.Buffer
	cmd := command(ts, args)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	_, _ = ts.Stdout().Write(stdout.Bytes())
	_, _ = ts.Stderr().Write(stderr.Bytes())
	ts.Logf("%s%s", stdout.String(), stderr.String())
	if (err != nil) != neg {
		ts.Fatalf("%v: %v", args, err)
	}
}

// The outcomes that a script waits for.
func found(err error, matches bool) bool  { return err == nil && matches }
func failed(err error, matches bool) bool { return err != nil && matches }
func gone(err error, matches bool) bool   { return err == nil && !matches }

func repeat(ts *testscript.TestScript, neg bool, args []string, enough func(err error, matches bool) bool) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND ARG…")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out []byte
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		out, err = command(ts, args[1:]).CombinedOutput()
		if enough(err, pattern.Match(out)) {
			_, _ = ts.Stdout().Write(out)
			return
		}
	}
	ts.Fatalf("%v: %v; waited %s for %q in:\n%s", args[1:], err, patience, args[0], out)
}

func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same NAME NAME")
	}
	if a, b := ts.Getenv(args[0]), ts.Getenv(args[1]); (a == b) == neg {
		ts.Fatalf("%s:\n%s\n%s:\n%s", args[0], a, args[1], b)
	}
}

func eachLine(ts *testscript.TestScript, neg bool, args []string) {
	for line := range strings.Lines(ts.Getenv(args[0])) {
		one := make([]string, 0, len(args))
		for _, arg := range args[1:] {
			one = append(one, strings.ReplaceAll(arg, "%", strings.TrimSpace(line)))
		}
		run1(ts, neg, one)
	}
}

// kill finds a process of a node by the node's own list, so that nothing else can be hit.
func kill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: kill-9 server|agent NODE")
	}
	out, err := command(ts, []string{"eastwest", "node", "list", "--name", ts.Getenv("CLUSTER"), "-o", "json"}).Output()
	ts.Check(err)
	var nodes []struct {
		Name      string         `json:"name"`
		Processes map[string]int `json:"processes"`
	}
	ts.Check(json.Unmarshal(out, &nodes))
	for _, node := range nodes {
		if pid := node.Processes[args[0]]; node.Name == args[1] && pid > 1 {
			ts.Check(syscall.Kill(pid, syscall.SIGKILL))
			return
		}
	}
	ts.Fatalf("node %s runs no %s:\n%s", args[1], args[0], out)
}

func set(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: set NAME COMMAND ARG…")
	}
	out, err := command(ts, args[1:]).Output()
	if err != nil {
		ts.Fatalf("%v: %v", args[1:], err)
	}
	ts.Setenv(args[0], strings.TrimSpace(string(out)))
}

// goTest runs a package's tests on what the script has prepared.
func goTest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gotest PACKAGE")
	}
	cmd := command(ts, []string{"go", "test", "-vet=off", "-count=1", args[0]})
	cmd.Dir = ts.Getenv("REPOSITORY")
	out, err := cmd.CombinedOutput()
	ts.Logf("%s", out)
	if err != nil {
		ts.Fatalf("test %s: %v", args[0], err)
	}
}

// image builds a test image from Debian packages into a folder that all scripts of a run share.
func image(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: image NAME FILE")
	}
	dir := filepath.Join(os.TempDir(), "eastwest-test-images")
	archive := filepath.Join(dir, args[0]+".tar")
	if _, err := os.Stat(archive); err != nil {
		cmd := exec.Command("go", "run", "./test/images", "-o", dir, args[0])
		cmd.Dir = ts.Getenv("REPOSITORY")
		if out, err := cmd.CombinedOutput(); err != nil {
			ts.Fatalf("build image %s: %v\n%s", args[0], err, out)
		}
	}
	ts.Setenv("IMAGE_"+strings.ToUpper(args[0]), archive)
	ts.Check(os.Symlink(archive, ts.MkAbs(args[1])))
}
