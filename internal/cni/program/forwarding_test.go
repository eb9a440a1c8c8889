// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"os"
	"strings"
	"testing"

	"eastwest/internal/cni/cnitest"
)

// A host with IPv6 containers forwards for them, and for nobody else, and goes on listening to routers.
func TestIPv6IsForwardedForContainersAlone(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/all/force_forwarding"); err != nil {
		t.Skip("this kernel forwards IPv6 as a whole alone (Linux 6.17 has a switch for each link)")
	}
	for name, conf := range map[string]string{"ptp": dualStack(t, "1.1.0"), "bridge": guardedBridge(t)} {
		t.Run(name, func(t *testing.T) {
			node := cnitest.NewNode(t)
			node.Run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.forwarding=0")
			pod, outside, stranger := cnitest.Pod(t, "pod"), cnitest.Pod(t, "outside"), cnitest.Pod(t, "stranger")
			for link, end := range map[string]string{"wan": outside.NetNS, "lan": stranger.NetNS} {
				network := map[string]string{"wan": "2001:db8:1::", "lan": "2001:db8:2::"}[link]
				node.Run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", end)
				node.Run("ip", "addr", "add", network+"1/64", "dev", link, "nodad")
				node.Run("ip", "link", "set", link, "up")
				cnitest.RunIn(t, end, "ip", "addr", "add", network+"2/64", "dev", "eth0", "nodad")
				cnitest.RunIn(t, end, "ip", "link", "set", "eth0", "up")
				cnitest.RunIn(t, end, "ip", "-6", "route", "add", "default", "via", network+"1")
			}
			node.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:1::2")
			result := node.Add(cnitest.List(t, conf), pod)
			own := result.IPs[1].Address.IP.String()
			cnitest.Serve(t, outside.NetNS, "outside", 80)
			cnitest.Serve(t, pod.NetNS, "pod", 80)
			want := "outside " + own
			if name == "bridge" { // it masquerades
				want = "outside 2001:db8:1::1"
			}
			cnitest.Expect(t, pod.NetNS, "tcp", "[2001:db8:1::2]:80", want)
			cnitest.Expect(t, outside.NetNS, "tcp", "["+own+"]:80", "pod 2001:db8:1::2")
			if answer, err := cnitest.Ask(stranger.NetNS, "tcp", "[2001:db8:1::2]:80"); err == nil {
				t.Errorf("what comes in by a link without containers is forwarded: %q", answer)
			}
			if got := strings.TrimSpace(node.Run("sysctl", "-n", "net.ipv6.conf.all.forwarding")); got != "0" {
				t.Errorf("the host is a router as a whole: net.ipv6.conf.all.forwarding = %s", got)
			}
		})
	}
}

// With forwarding "links" a host forwards IPv4 for its containers alone; otherwise as a whole, as the reference plugins have it.
func TestIPv4IsForwardedAsAsked(t *testing.T) {
	for _, plugin := range []string{`"type": "ptp"`, `"type": "bridge", "isDefaultGateway": true`} {
		for scope, whole := range map[string]string{`"forwarding": "links",`: "0", `"forwarding": "host",`: "1", "": "1"} {
			t.Run(plugin+scope, func(t *testing.T) {
				node := cnitest.NewNode(t)
				node.Run("sysctl", "-qw", "net.ipv4.ip_forward=0")
				pod, outside := cnitest.Pod(t, "pod"), cnitest.Pod(t, "outside")
				node.Run("ip", "link", "add", "wan", "type", "veth", "peer", "name", "eth0", "netns", outside.NetNS)
				node.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "wan")
				node.Run("ip", "link", "set", "wan", "up")
				cnitest.RunIn(t, outside.NetNS, "ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
				cnitest.RunIn(t, outside.NetNS, "ip", "link", "set", "eth0", "up")
				cnitest.RunIn(t, outside.NetNS, "ip", "route", "add", "default", "via", "192.0.2.1")
				if whole == "0" { // which is somebody else's to do
					node.Run("sysctl", "-qw", "net.ipv4.conf.wan.forwarding=1")
				}
				result := node.Add(cnitest.List(t, `{"cniVersion": "1.0.0", "name": "net", "plugins": [{`+plugin+`, `+scope+`
					"ipam": {"type": "host-local", "dataDir": "`+t.TempDir()+`", "subnet": "10.66.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}]}`), pod)
				cnitest.Serve(t, outside.NetNS, "outside", 80)
				cnitest.Expect(t, pod.NetNS, "tcp", "192.0.2.2:80", "outside "+result.IPs[0].Address.IP.String())
				if got := strings.TrimSpace(node.Run("sysctl", "-n", "net.ipv4.ip_forward")); got != whole {
					t.Errorf("net.ipv4.ip_forward is %s", got)
				}
			})
		}
	}
}
