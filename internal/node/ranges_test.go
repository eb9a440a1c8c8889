// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ipvskernel "eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kubelet/apidouble"
)

// A network that has ranges of its own, as an agent has, follows the cluster's as well: what runs goes on, Services in a new range are served, and
// addresses of it that no Service has are refused as long as it is there.
func TestNetworkFollowsRanges(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	for _, backend := range Backends() {
		t.Run(backend, func(t *testing.T) {
			if backend == backendIPVS && ipvskernel.Check() != nil {
				t.Skip("this kernel has no IPVS")
			}
			playRanges(t, backend)
		})
	}
}

func playRanges(t *testing.T, backend string) {
	ns, api := netnstest.New(t), newCluster(t)
	echoAt(t, ns, "10.244.0.2:8080")
	putRange(api, "kubernetes", "10.96.0.0/16")
	var told atomic.Pointer[[]netip.Prefix]
	network, err := NewNetwork(NetworkConfig{
		Client: api.Client, NodeName: "worker", Netns: ns, Backend: backend, NoRoutes: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}, FollowRanges: true, TellRanges: func(now []netip.Prefix) { told.Store(&now) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- network.Run(ctx) }()
	refused := func(address string) bool { _, err := dialIn(ns, address); return errors.Is(err, unix.ECONNREFUSED) }
	names := func(ranges ...string) bool {
		return told.Load() != nil && slices.EqualFunc(*told.Load(), ranges, func(p netip.Prefix, text string) bool { return p.String() == text })
	}
	eventually(t, "the flag's range", func() bool { return refused("10.96.0.99:80") && names("10.96.0.0/16") })
	before := await(t, ns, "10.96.0.7:80")

	putRange(api, "more", "203.0.113.0/24")
	eventually(t, "the new range", func() bool { return refused("203.0.113.9:80") && names("10.96.0.0/16", "203.0.113.0/24") })
	before.echoes(t, "with the new range")
	putFar(api, "203.0.113.77")
	far := await(t, ns, "203.0.113.77:80")
	putRange(api, "kubernetes", "10.96.0.0/24") // the flag's is wider
	putRange(api, "third", "203.0.112.0/23")
	eventually(t, "a range around another", func() bool { return refused("203.0.112.9:80") && refused("203.0.113.9:80") && refused("10.96.9.9:80") })
	far.echoes(t, "with a range around its own")
	api.Drop("servicecidrs", "", "third")
	api.Drop("services", "default", "far")
	api.Drop("servicecidrs", "", "more")
	eventually(t, "only the flag's range", func() bool { return !refused("203.0.113.9:80") && refused("10.96.9.9:80") })
	before.echoes(t, "without the new range")

	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the network ended with %v", err)
	}
}

func putRange(api *apidouble.Server, name, cidr string) {
	api.Put("servicecidrs", &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{cidr}}})
}

// putFar makes a Service with an address, of the endpoint that newCluster's has.
func putFar(api *apidouble.Server, address string) {
	api.Put("services", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "far"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: address, ClusterIPs: []string{address}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
	}})
	port, protocol, ready, node := int32(8080), corev1.ProtocolTCP, true, "worker"
	api.Put("endpointslices", &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "far-1", Labels: map[string]string{discoveryv1.LabelServiceName: "far"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port, Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.2"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	})
}

// echoAt makes an address of the loopback that sends back what comes, and leads all other packets nowhere.
func echoAt(t *testing.T, ns, address string) {
	at := netip.MustParseAddrPort(address).Addr()
	netnstest.Own(t, ns, at)
	netnstest.In(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Src: at.AsSlice()})
	})
	netnstest.Serve(t, ns, address, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
}

// dialIn connects to an address from inside a network namespace. What nobody answers is given up soon.
func dialIn(ns, address string) (conn net.Conn, err error) {
	err = inNetns(ns, func() (err error) {
		conn, err = net.DialTimeout("tcp", address, 200*time.Millisecond)
		return err
	})
	return conn, err
}

// open is a connection to what sends back.
type open struct{ net.Conn }

// await connects when a Service is served.
func await(t *testing.T, ns, address string) open {
	t.Helper()
	var conn net.Conn
	eventually(t, address, func() (served bool) {
		var err error
		conn, err = dialIn(ns, address)
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	o := open{conn}
	o.echoes(t, "at first")
	return o
}

func (o open) echoes(t *testing.T, when string) {
	t.Helper()
	_ = o.SetDeadline(time.Now().Add(patience))
	text := make([]byte, 5)
	if _, err := io.WriteString(o, "hello"); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if _, err := io.ReadFull(o, text); err != nil || string(text) != "hello" {
		t.Fatalf("%s: %q, %v", when, text, err)
	}
}
