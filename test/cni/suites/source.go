// SPDX-License-Identifier: Apache-2.0

// Package suites runs the test suites of the reference plugins, containernetworking/plugins, on our plugins: in a copy of their
// source, the functions that are the verbs are replaced by ones that run our program as a runtime would. What fails has to be
// among the specs that are known to (known.go), with a reason, and what is known to fail has to.
//
//	module cache ─copy, redirect─▶ source ─go test -c─▶ suite ─run here, or on Debian's kernel─▶ specs ─compare─▶ known
package suites

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Module is the reference, and its version.
const Module = "github.com/containernetworking/plugins@v1.9.1"

// Plugins are the suites, by their place in the reference's source.
var Plugins = []string{
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
var subject = regexp.MustCompile("^(?:[a-z-]+ [A-Z]+(?: of container [^ ]* interface [^ ]*)?: )+")

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

// tree is a copy of the reference's source whose plugins are ours.
type tree struct{ dir string }

// newTree makes a tree in dir for plugins of ours in the folder ours. Without dummies, devices of the kind dummy, which some
// kernels lack, are bridges: as good a link to tune or to be a master.
func newTree(dir, ours string, dummies bool) (tree, error) {
	if err := copySource(dir); err != nil {
		return tree{}, err
	}
	for _, p := range Plugins {
		if err := redirect(filepath.Join(dir, "plugins", p), ours, dummies); err != nil {
			return tree{}, err
		}
	}
	return tree{dir}, nil
}

// build compiles a suite.
func (t tree) build(plugin, to string) error {
	c := exec.Command("go", "test", "-vet=off", "-c", "-o", to, "./plugins/"+plugin)
	c.Dir, c.Env = t.dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build the suite of %s: %w: %s", plugin, err, out)
	}
	return nil
}

// copySource copies the reference's source out of the module cache, where it is read-only.
func copySource(to string) error {
	out, err := exec.Command("go", "mod", "download", "-json", Module).Output()
	if err != nil {
		return fmt.Errorf("download %s: %w", Module, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return fmt.Errorf("find the source of %s: %w", Module, err)
	}
	err = filepath.WalkDir(module.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, module.Dir))
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
		return fmt.Errorf("copy the source of %s: %w", Module, err)
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
func redirect(dir, ours string, dummies bool) error {
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
			source = adapt(source, dummies)
		} else if bytes.Contains(source, []byte("func cmdStatus(")) {
			text += shimStatus
		}
		if err := os.WriteFile(file, verbs.ReplaceAll(source, []byte("func reference$1(args")), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "ours.go"), []byte(text), 0o644)
}

// adapt changes what a suite assumes: the message bus that a test starts has to be found by another process; and a test that
// looks for iptables chains has to ask for that backend, since ours is nftables where none is named.
func adapt(source []byte, dummies bool) []byte {
	if !dummies {
		source = bytes.ReplaceAll(source, []byte("netlink.Dummy{"), []byte("netlink.Bridge{"))
	}
	source = bytes.ReplaceAll(source, []byte("\"type\": \"portmap\",\n"), []byte("\"type\": \"portmap\", \"backend\": \"iptables\",\n"))
	source = bytes.ReplaceAll(source, []byte("\"os/exec\"\n\t\"strings\"\n\t\"sync\""), []byte("\"os\"\n\t\"os/exec\"\n\t\"strings\"\n\t\"sync\""))
	return bytes.ReplaceAll(source, []byte("conn, err = dbus.Dial(busAddr)"),
		[]byte("os.Setenv(\"DBUS_SYSTEM_BUS_ADDRESS\", busAddr)\n\t\tconn, err = dbus.Dial(busAddr)"))
}
