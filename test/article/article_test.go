// SPDX-License-Identifier: Apache-2.0

// Package article_test runs the shell blocks of the article "Understanding Kubernetes' Cluster Networking" in their order:
// two network namespaces on one host, then on two hosts, joined by veths, bridges and routes that are made by hand. Every
// block has to do what the article says that it does.
//
// Where the blocks differ from the text: a server's output goes nowhere, since there is no terminal; a server is ended
// before its namespace; and google.com is a server of this test, outside the node network and reached through the host.
package article_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// hosts are two machines on one network, as the article has them, and a web server beyond that network.
type hosts struct {
	client, server string // names of the machines
	clientIP       string // their addresses on eth0
	serverIP       string
	outside        string // URL of the server beyond
	run            func(host, script string) (string, error)
}

// block is one block of the article's shell, run on one host.
type block struct {
	title  string
	script string
	says   string // a regular expression that the output matches
	fails  bool   // the last command fails, as the article shows
}

const directory = `<h1>Directory listing for /</h1>`

func TestBlocks(t *testing.T) {
	h := machines(t)
	for _, host := range []string{h.client, h.server} {
		if _, err := h.run(host, "command -v python3 && command -v curl && command -v ping"); err != nil {
			t.Fatalf("host %s lacks a program of the article: install python3, curl and iputils-ping: %v", host, err)
		}
	}
	t.Cleanup(func() { tidy(t, h) })
	for _, part := range []struct {
		host   string
		blocks []block
	}{
		{h.client, oneHost()},
		{h.client, clientHost()},
		{h.server, serverHost()},
		{h.client, outbound("client", h.serverIP, h.clientIP, h.outside)},
		{h.server, outbound("server", h.clientIP, h.serverIP, h.outside)},
		{h.client, inbound(h.serverIP)},
	} {
		for _, b := range part.blocks {
			run(t, h, part.host, b)
		}
	}
}

func run(t *testing.T, h *hosts, host string, b block) {
	t.Helper()
	out, err := h.run(host, "set -e\ncd /tmp\n"+b.script)
	if (err != nil) != b.fails {
		t.Fatalf("%s, on %s: failed is %v, the article says %v\n%s\n%v", b.title, host, err != nil, b.fails, out, err)
	}
	if !regexp.MustCompile("(?s)" + b.says).MatchString(out) {
		t.Fatalf("%s, on %s: output does not match %q:\n%s", b.title, host, b.says, out)
	}
}

// serve starts the article's web server in a namespace and waits until its port is open.
func serve(netns string) string {
	return fmt.Sprintf(`ip netns exec %[1]s nohup python3 -m http.server 8080 > /dev/null 2>&1 < /dev/null &
for i in $(seq 200); do ip netns exec %[1]s ss -Hltn sport = :8080 | grep -q 8080 && break; sleep 0.1; done`, netns)
}

// stop ends what runs in a namespace and waits for it: a namespace lives as long as its processes.
func stop(netns string) string {
	return fmt.Sprintf(`for pid in $(ip netns pids %[1]s); do kill $pid; done
for i in $(seq 200); do test -z "$(ip netns pids %[1]s)" && break; sleep 0.1; done`, netns)
}

func oneHost() []block {
	return []block{
		{title: "create network namespace", script: "ip netns add client\nip netns list", says: `client`},
		{title: "loopback is down by default", script: "ip netns exec client ip link list", says: `lo: <LOOPBACK> .*state DOWN`},
		{title: "initialize loopback", script: "ip netns exec client ip link set lo up"},
		{title: "start the server", script: serve("client")},
		{title: "invoke the server", script: "ip netns exec client curl -sS -m 2 localhost:8080", says: directory},

		{title: "create the other pod's network namespace", script: "ip netns add server\nip netns list", says: `server.*client`},
		{title: "restart the server in it", script: stop("client") + "\n" + serve("server")},
		{title: "call it from the client namespace", script: "ip netns exec client curl -sS localhost:8080", fails: true,
			says: `curl: \(7\) Failed to connect to localhost port 8080.*`},

		{title: "connect both to a bridge", script: bridgeOnOneHost},
		{title: "state of client interfaces", script: "ip netns exec client ip addr", says: `veth-client@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP>.*inet 10\.0\.0\.1/24`},
		{title: "state of server interfaces", script: "ip netns exec server ip addr", says: `veth-server@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP>.*inet 10\.0\.0\.2/24`},
		{title: "state of host interfaces", script: "ip addr", says: `eth0.*bridge: .*inet 10\.0\.0\.0/24.*veth-clientbr@if\d+: .* master bridge .*veth-serverbr@if\d+: .* master bridge `},
		{title: "test connectivity", script: "ip netns exec client curl -sS -v -m 5 10.0.0.2:8080", says: directory},

		{title: "clean up", script: stop("server") + cleanOneHost},
	}
}

const bridgeOnOneHost = `ip link add bridge type bridge
ip link add veth-client type veth peer name veth-clientbr
ip link add veth-server type veth peer name veth-serverbr
ip link set veth-clientbr master bridge
ip link set veth-serverbr master bridge
ip link set veth-client netns client
ip link set veth-server netns server
ip netns exec client ip addr add 10.0.0.1/24 dev veth-client
ip netns exec server ip addr add 10.0.0.2/24 dev veth-server
ip addr add 10.0.0.0/24 dev bridge
ip netns exec client ip link set veth-client up
ip netns exec server ip link set veth-server up
ip link set veth-clientbr up
ip link set veth-serverbr up
ip link set bridge up
`

// The veths' ends that are left on the host go with the namespaces; the article deletes them by the names of the others.
const cleanOneHost = `
ip netns del client
ip netns del server
ip link del veth-clientbr 2> /dev/null || true
ip link del veth-serverbr 2> /dev/null || true
ip link del bridge
`

func clientHost() []block {
	return []block{{title: "the client host", script: podOnHost("client", "10.0.0.1")}}
}

func serverHost() []block {
	return []block{
		{title: "the server host", script: podOnHost("server", "10.0.0.2")},
		{title: "run the server", script: "ip netns exec server ip link set lo up\n" + serve("server")},
	}
}

func podOnHost(name, address string) string {
	return strings.NewReplacer("NAME", name, "ADDRESS", address).Replace(`ip netns add NAME
ip link add bridge type bridge
ip link add veth-NAME type veth peer name veth-NAMEbr
ip link set veth-NAME netns NAME
ip link set veth-NAMEbr master bridge
ip addr add 10.0.0.0/24 dev bridge
ip netns exec NAME ip addr add ADDRESS/24 dev veth-NAME
ip netns exec NAME ip link set lo up
ip netns exec NAME ip link set veth-NAME up
ip link set bridge up
ip link set veth-NAMEbr up
`)
}

// outbound goes from a namespace to the hosts and beyond.
func outbound(netns, other, own, outside string) []block {
	in := "ip netns exec " + netns + " "
	return []block{
		{title: "the other host is not reachable", script: in + "ping -c 1 -W 1 " + other, fails: true, says: `Network is unreachable`},
		{title: "nor is its own", script: in + "ping -c 1 -W 1 " + own, fails: true, says: `Network is unreachable`},
		{title: "default route via the bridge", script: in + "ip route add default via 10.0.0.0\n" + in + "ping -c 2 " + own,
			says: `2 packets transmitted, 2 received, 0% packet loss`},
		{title: "the other host, too", script: in + "ping -c 2 " + other, says: `2 packets transmitted, 2 received, 0% packet loss`},
		{title: "any destination reachable from eth0", script: in + "curl -sS -m 5 " + outside, says: directory},
	}
}

// givenUp waits until the kernel has given up the first block's search for the server, three seconds after it began: a
// person types no faster, and a second search that joins the first is refused early instead of timing out.
const givenUp = "for i in $(seq 100); do ip netns exec client ip neigh show to 10.0.0.2 | grep -q INCOMPLETE || break; sleep 0.1; done\n"

// inbound goes from one host, and at last from its namespace, to the namespace on the other.
func inbound(server string) []block {
	fromPod := "ip netns exec client curl -sS -m 2 10.0.0.2:8080"
	timeout := `curl: \(28\) Connection timed out`
	return []block{
		{title: "client to server without a route", script: fromPod, fails: true, says: timeout},
		{title: "a route on the client host", script: "ip route add 10.0.0.2 via " + server + "\ncurl -sS -m 5 10.0.0.2:8080", says: directory},
		{title: "client to server with the host's route only", script: givenUp + fromPod, fails: true, says: timeout},
		{title: "a route in the client namespace", script: "ip netns exec client ip route add 10.0.0.2 via 10.0.0.0\n" + fromPod, says: directory},
	}
}

// tidy removes what the blocks made, however far they came.
func tidy(t *testing.T, h *hosts) {
	for host, netns := range map[string]string{h.client: "client", h.server: "server"} {
		script := "ip route del 10.0.0.2 2> /dev/null\nip link del bridge 2> /dev/null\n"
		for _, name := range []string{"client", "server"} {
			script += fmt.Sprintf("if ip netns list | grep -qw %[1]s; then\n%s\nip netns del %[1]s\nfi\n", name, stop(name))
		}
		if out, err := h.run(host, script+"true"); err != nil {
			t.Errorf("remove namespace %s from host %s: %v\n%s", netns, host, err, out)
		}
	}
}
