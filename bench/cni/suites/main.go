// SPDX-License-Identifier: Apache-2.0

// Command suites runs the reference plugins' own test suites on our plugins: in a copy of the reference's source, the
// functions that are the verbs are replaced by ones that run our program as a runtime would.
//
//	go run ./cni/suites -bin ../bin     the suites of every plugin, and which of their specs fail
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"eastwest/bench/reference"
)

// plugins are the suites, by their place in the reference's source.
var plugins = []string{
	"main/ptp", "main/bridge", "main/macvlan", "main/loopback", "ipam/host-local", "meta/portmap", "meta/firewall", "meta/tuning",
}

// shim is put beside each plugin; it gets the folder of ours, and the plugin's name.
const shim = `package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

const ourPlugins = %q

// subject is what ours put in front of what the reference would say.
var subject = regexp.MustCompile("(?:[a-z-]+ [A-Z]+ of container [^ ]* interface [^ ]*: )+")

func callOurs(verb string, args *skel.CmdArgs) error {
	c := exec.Command(filepath.Join(ourPlugins, %q))
	if args.Args != "" {
		args.Args = "IgnoreUnknown=1;" + args.Args // which the suites leave out, since IPAM never sees them there
	}
	var out bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(args.StdinData), &out, os.Stderr
	c.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID="+args.ContainerID, "CNI_NETNS="+args.Netns,
		"CNI_IFNAME="+args.IfName, "CNI_ARGS="+args.Args, "CNI_PATH="+ourPlugins, "CNI_NETNS_OVERRIDE=1")
	if err := c.Run(); err != nil {
		var failed types.Error
		if json.Unmarshal(out.Bytes(), &failed) == nil && failed.Msg != "" {
			failed.Msg = subject.ReplaceAllString(failed.Msg, "")
			return &failed
		}
		return err
	}
	_, err := os.Stdout.Write(out.Bytes())
	return err
}

func cmdAdd(args *skel.CmdArgs) error    { return callOurs("ADD", args) }
func cmdDel(args *skel.CmdArgs) error    { return callOurs("DEL", args) }
func cmdCheck(args *skel.CmdArgs) error  { return callOurs("CHECK", args) }
`

const shimStatus = "func cmdStatus(args *skel.CmdArgs) error { return callOurs(\"STATUS\", args) }\n"

func main() {
	bin := flag.String("bin", "../bin", "folder of eastwest-cni")
	only := flag.String("only", "", "run the suite of this plugin alone, such as main/ptp")
	verbose := flag.Bool("v", false, "print what the suites print")
	flag.Parse()
	if err := run(*bin, *only, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(bin, only string, verbose bool) error {
	dir, err := os.MkdirTemp("", "suites")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ours := filepath.Join(dir, "bin")
	if out, err := exec.Command(filepath.Join(bin, "eastwest-cni"), "install", "--dir", ours).CombinedOutput(); err != nil {
		return fmt.Errorf("install our plugins: %w: %s", err, out)
	}
	source := filepath.Join(dir, "source")
	if err := copySource(source); err != nil {
		return err
	}
	for _, p := range plugins {
		if only != "" && p != only {
			continue
		}
		if err := redirect(filepath.Join(source, "plugins", p), ours); err != nil {
			return err
		}
		summary := test(source, p, ours, verbose)
		fmt.Printf("%-16s %s\n", p, summary)
	}
	return nil
}

// copySource copies the reference's source out of the module cache, where it is read-only.
func copySource(to string) error {
	source, err := reference.Source()
	if err != nil {
		return err
	}
	err = filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, source))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o644)
	})
	if err != nil {
		return err
	}
	download := exec.Command("go", "mod", "download")
	download.Dir = to
	if out, err := download.CombinedOutput(); err != nil {
		return fmt.Errorf("download what the suites need: %w: %s", err, out)
	}
	return nil
}

var verbs = regexp.MustCompile(`(?m)^func cmd(Add|Del|Check|Status)\(args`)

// redirect makes a plugin's verbs ours.
func redirect(dir, ours string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	text := fmt.Sprintf(shim, ours, filepath.Base(dir))
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.HasSuffix(file, "_test.go") {
			source = adapt(source)
		} else if bytes.Contains(source, []byte("func cmdStatus(")) {
			text += shimStatus
		}
		if err := os.WriteFile(file, verbs.ReplaceAll(source, []byte("func reference$1(args")), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "ours.go"), []byte(text), 0o644)
}

// adapt changes what a suite assumes: kernels have no dummy device sometimes, and a bridge is as good a link to tune or
// to be a master; the message bus that a test starts has to be found by another process; and a test that looks for
// iptables chains has to ask for that backend, since ours is nftables where none is named.
func adapt(source []byte) []byte {
	source = bytes.ReplaceAll(source, []byte("netlink.Dummy{"), []byte("netlink.Bridge{"))
	source = bytes.ReplaceAll(source, []byte("\"type\": \"portmap\",\n"), []byte("\"type\": \"portmap\", \"backend\": \"iptables\",\n"))
	source = bytes.ReplaceAll(source, []byte("\"os/exec\"\n\t\"strings\"\n\t\"sync\""), []byte("\"os\"\n\t\"os/exec\"\n\t\"strings\"\n\t\"sync\""))
	return bytes.ReplaceAll(source, []byte("conn, err = dbus.Dial(busAddr)"),
		[]byte("os.Setenv(\"DBUS_SYSTEM_BUS_ADDRESS\", busAddr)\n\t\tconn, err = dbus.Dial(busAddr)"))
}

var failure = regexp.MustCompile(`(?m)^\s*(?:\x1b\[[0-9;]*m)*\[(?:FAIL|PANICKED!|TIMEDOUT)\].*$`)

// specVersion stands in the name of a spec that is run once for each version of the specification.
var specVersion = regexp.MustCompile(`\[[0-9.]+\] `)

// apart is a command that leaves this machine as it was. Namespaces that failed specs leave pinned go with the mount
// namespace; what a suite sets of the host, as portmap's does with ip_forward, goes with the network namespace. In front of
// it the modules have to be downloaded: there is no network there.
func apart(program string, args ...string) *exec.Cmd {
	const prepare = `mkdir -p /run/netns && mount -t tmpfs suites /run/netns && ip link set lo up && exec "$@"`
	return exec.Command("unshare", append([]string{"-m", "-n", "sh", "-c", prepare, "sh", program}, args...)...)
}

// test runs a suite and returns its last word, with the specs that failed below.
func test(source, plugin, ours string, verbose bool) string {
	c := apart("go", "test", "-count=1", "-timeout", "20m", "./plugins/"+plugin, "-ginkgo.no-color")
	c.Dir = source
	c.Env = append(os.Environ(), "PATH="+ours+":"+os.Getenv("PATH"))
	out, err := c.CombinedOutput()
	if verbose {
		os.Stdout.Write(out)
	}
	last := "no summary"
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, " Passed | ") || strings.HasPrefix(line, "ok ") && last == "no summary" {
			last = strings.TrimSpace(line)
		}
	}
	versions, names := map[string]int{}, []string(nil)
	for _, spec := range failure.FindAllString(string(out), -1) {
		name := strings.TrimSpace(specVersion.ReplaceAllString(spec, ""))
		if versions[name]++; versions[name] == 1 {
			names = append(names, name)
		}
	}
	for _, name := range names {
		last += fmt.Sprintf("\n    %d × %s", versions[name], name)
	}
	if err != nil && last == "no summary" {
		last += ": " + string(out[max(0, len(out)-2000):])
	}
	return last
}
