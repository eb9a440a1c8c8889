// SPDX-License-Identifier: Apache-2.0

package article_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
)

// outsideIP is in a network for documentation (RFC 5737), so nobody else has it.
const outsideIP = "203.0.113.80"

// machines returns two nodes of the local cluster that EASTWEST_ARTICLE_NODES names (CLUSTER/NODE,CLUSTER/NODE; the program
// is EASTWEST), or else two machines of namespaces on a bridge.
func machines(t *testing.T) *hosts {
	t.Helper()
	netnstest.RequireRoot(t)
	if nodes := os.Getenv("EASTWEST_ARTICLE_NODES"); nodes != "" {
		return clusterNodes(t, nodes)
	}
	return plainMachines(t)
}

func clusterNodes(t *testing.T, names string) *hosts {
	t.Helper()
	client, server, ok := strings.Cut(names, ",")
	if !ok {
		t.Fatalf("EASTWEST_ARTICLE_NODES is %q: give CLUSTER/NODE,CLUSTER/NODE", names)
	}
	h := &hosts{client: client, server: server}
	h.run = func(host, script string) (string, error) {
		cluster, node, _ := strings.Cut(host, "/")
		return output(t, exec.Command(os.Getenv("EASTWEST"), "node", "exec", "--name", cluster, node, "--", "sh", "-c", script))
	}
	h.clientIP, h.serverIP = address(t, h, client), address(t, h, server)
	here := func(script string) (string, error) { return output(t, exec.Command("sh", "-c", script)) }
	h.outside = startOutside(t, here)
	return h
}

func address(t *testing.T, h *hosts, host string) string {
	t.Helper()
	out, err := h.run(host, "ip -4 -o addr show dev eth0 | awk '{print $4}' | cut -d/ -f1 | head -1")
	if err != nil || strings.TrimSpace(out) == "" {
		t.Fatalf("read the address of host %s: %v: %s", host, err, out)
	}
	return strings.TrimSpace(out)
}

// plainMachines makes a router and two machines behind it, each with mounts of its own so that `ip netns` is. Machines
// masquerade what they forward to the network, as kind's and ours do: a server whose subnet has the same numbers on
// another host could not answer otherwise.
func plainMachines(t *testing.T) *hosts {
	t.Helper()
	pids := map[string]int{}
	for _, name := range []string{"router", "client-host", "server-host"} {
		pids[name] = startMachine(t, name)
	}
	h := &hosts{client: "client-host", server: "server-host", clientIP: "172.18.0.2", serverIP: "172.18.0.4"}
	h.run = func(host, script string) (string, error) {
		return output(t, exec.Command("nsenter", "-t", fmt.Sprint(pids[host]), "-m", "-n", "sh", "-c", script))
	}
	must(t, h.run, "router", "sysctl -qw net.ipv4.ip_forward=1\nip link set lo up\nip link add br0 type bridge\n"+
		"ip addr add 172.18.0.1/16 dev br0\nip link set br0 up")
	for host, address := range map[string]string{h.client: h.clientIP, h.server: h.serverIP} {
		must(t, h.run, "router", fmt.Sprintf("ip link add %s type veth peer name eth0 netns %d\nip link set %[1]s master br0 up", host, pids[host]))
		must(t, h.run, host, "ip link set lo up\nip link set eth0 up\nip addr add "+address+"/16 dev eth0\n"+
			"ip route add default via 172.18.0.1\nsysctl -qw net.ipv4.ip_forward=1\n"+
			"nft 'table ip egress { chain postrouting { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }'")
	}
	h.outside = startOutside(t, func(script string) (string, error) { return h.run("router", script) })
	return h
}

func must(t *testing.T, run func(host, script string) (string, error), host, script string) {
	t.Helper()
	if out, err := run(host, "set -e\n"+script); err != nil {
		t.Fatalf("prepare %s: %v\n%s", host, err, out)
	}
}

// startMachine starts a process that holds the machine's namespaces until the test ends.
func startMachine(t *testing.T, name string) int {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	cmd := exec.Command("unshare", "--mount", "--net", "--propagation", "private", "sh", "-c",
		"mount -t tmpfs tmpfs /run && mkdir /run/netns && mount -t sysfs sysfs /sys && echo ok > $0 && exec sleep infinity", ready)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := exec.Command("mkfifo", ready).Run(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); _ = cmd.Wait() })
	if text, err := os.ReadFile(ready); err != nil || string(text) != "ok\n" {
		t.Fatalf("start machine %s: %v: %s", name, err, stderr.String())
	}
	return cmd.Process.Pid
}

// startOutside puts a web server into a namespace behind the host and returns its URL.
func startOutside(t *testing.T, onHost func(script string) (string, error)) string {
	t.Helper()
	run := func(_, script string) (string, error) { return onHost(script) }
	t.Cleanup(func() {
		if out, err := onHost(stop("ew-outside") + "\nip netns del ew-outside"); err != nil {
			t.Errorf("remove the server outside: %v\n%s", err, out)
		}
	})
	must(t, run, "the host", `ip netns add ew-outside
ip link add ew-outside type veth peer name eth0 netns ew-outside
ip addr add 203.0.113.1/24 dev ew-outside
ip link set ew-outside up
sysctl -qw net.ipv4.conf.ew-outside.forwarding=1
ip netns exec ew-outside ip link set lo up
ip netns exec ew-outside ip addr add `+outsideIP+`/24 dev eth0
ip netns exec ew-outside ip link set eth0 up
ip netns exec ew-outside ip route add default via 203.0.113.1
cd /tmp
`+serve("ew-outside"))
	return "http://" + outsideIP + ":8080/"
}

// output runs a command and returns what it printed on both streams. The streams are a file: a server that the command
// leaves behind would hold a pipe open.
func output(t *testing.T, cmd *exec.Cmd) (string, error) {
	f, err := os.CreateTemp("", "article")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	err = cmd.Run()
	text, readErr := os.ReadFile(f.Name())
	if readErr != nil {
		t.Error(readErr)
	}
	return string(text), err
}
