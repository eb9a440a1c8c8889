// SPDX-License-Identifier: Apache-2.0

package podcidr

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"pgregory.net/rapid"
)

func TestNth(t *testing.T) {
	for _, test := range []struct {
		within string
		bits   int
		index  int
		want   string
	}{
		{"10.244.0.0/16", 24, 0, "10.244.0.0/24"},
		{"10.244.0.0/16", 24, 255, "10.244.255.0/24"},
		{"10.0.0.0/8", 24, 256, "10.1.0.0/24"},
		{"fd00:10:244::/56", 64, 1, "fd00:10:244:1::/64"},
		{"fd00:10:244::/56", 64, 255, "fd00:10:244:ff::/64"},
		{"fd00::/112", 120, 3, "fd00::300/120"},
		{"fd00::/56", 72, 257, "fd00:0:0:1:100::/72"},
	} {
		share, err := newSubnets(netip.MustParsePrefix(test.within), test.bits)
		if err != nil {
			t.Fatal(err)
		}
		if have := share.nth(test.index).String(); have != test.want {
			t.Errorf("subnet %d of %s/%d = %s, want %s", test.index, test.within, test.bits, have, test.want)
		}
	}
}

func TestLengthThatDoesNotFit(t *testing.T) {
	for _, bits := range []int{15, 33} {
		if _, err := newSubnets(netip.MustParsePrefix("10.244.0.0/16"), bits); err == nil {
			t.Errorf("length %d was accepted", bits)
		}
	}
}

// Whatever nodes come and go, no two hold overlapping subnets, and each gets the lowest that is free.
func TestSubnetsNeverOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share, err := newSubnets(netip.MustParsePrefix("192.0.2.0/24"), 28)
		if err != nil {
			t.Fatal(err)
		}
		held := map[string]netip.Prefix{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			node := fmt.Sprint("node", rapid.IntRange(0, 19).Draw(t, "node"))
			if _, has := held[node]; has {
				share.free(node)
				delete(held, node)
				continue
			}
			subnet, err := share.next(node)
			if (err != nil) != (len(held) == 16) {
				t.Fatalf("next with %d held: %v", len(held), err)
			}
			if err != nil {
				continue
			}
			for other, has := range held {
				if has.Overlaps(subnet) {
					t.Fatalf("%s and %s both have %s", node, other, subnet)
				}
			}
			held[node] = subnet
		}
	})
}

// Nodes that have a CIDR keep it; a new one gets the gap between them; a deleted one's is given again.
func TestNodesGetTheLowestFreeCIDR(t *testing.T) {
	node := func(name string, cidrs ...string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: cidrs}}
		if len(cidrs) > 0 {
			n.Spec.PodCIDR = cidrs[0]
		}
		return n
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := fake.NewClientset(node("a", "10.244.0.0/24"), node("c", "10.244.2.0/24"), node("b"))
	factory := informers.NewSharedInformerFactory(client, 0)
	run, err := New(Config{
		Client: client.CoreV1().Nodes(), Nodes: factory.Core().V1().Nodes(), Log: slog.New(slog.DiscardHandler),
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, BitsIPv4: 24, BitsIPv6: 64,
	})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	go run(ctx)
	expect := func(name, want string) {
		t.Helper()
		have := ""
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if n, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}); err == nil {
				if have = n.Spec.PodCIDR; have == want {
					return
				}
			}
		}
		t.Fatalf("node %s has pod CIDR %q, want %q", name, have, want)
	}
	expect("b", "10.244.1.0/24")
	expect("a", "10.244.0.0/24")
	if err := client.CoreV1().Nodes().Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := factory.Core().V1().Nodes().Lister().Get("a"); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := client.CoreV1().Nodes().Create(ctx, node("d"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("d", "10.244.0.0/24")
}
