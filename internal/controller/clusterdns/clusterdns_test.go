// SPDX-License-Identifier: Apache-2.0

package clusterdns

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func node(name string, ready corev1.ConditionStatus, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	for _, address := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
	}
	return n
}

// endpoints returns a slice's addresses, with "!" before those that are not ready.
func endpoints(t *testing.T, client *fake.Clientset, name string) []string {
	t.Helper()
	s, err := client.DiscoveryV1().EndpointSlices(Namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range s.Endpoints {
		text := e.Addresses[0]
		if !*e.Conditions.Ready {
			text = "!" + text
		}
		out = append(out, text)
	}
	return out
}

// The slices follow the nodes: added, not ready, removed; and what somebody deletes comes back.
func TestSlicesFollowNodes(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := fake.NewClientset(node("b", corev1.ConditionTrue, "192.0.2.2", "2001:db8::2"), node("a", corev1.ConditionFalse, "192.0.2.1"))
	factory := informers.NewSharedInformerFactory(client, 0)
	run, err := New(client, factory.Core().V1().Nodes(),
		[]netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00::a")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	go run(ctx)
	expect := func(name string, want ...string) {
		t.Helper()
		var have []string
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if have = endpoints(t, client, name); cmp.Equal(have, want) {
				return
			}
		}
		t.Fatalf("%s has %v, want %v", name, have, want)
	}
	expect("kube-dns-ipv4", "!192.0.2.1", "192.0.2.2")
	expect("kube-dns-ipv6", "2001:db8::2")
	service, err := client.CoreV1().Services(Namespace).Get(ctx, Name, metav1.GetOptions{})
	if err != nil || !cmp.Equal(service.Spec.ClusterIPs, []string{"10.96.0.10", "fd00::a"}) || len(service.Spec.Ports) != 3 {
		t.Fatalf("Service = %+v, %v", service, err)
	}
	nodes := client.CoreV1().Nodes()
	if _, err := nodes.UpdateStatus(ctx, node("a", corev1.ConditionTrue, "192.0.2.1"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("kube-dns-ipv4", "192.0.2.1", "192.0.2.2")
	if err := nodes.Delete(ctx, "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("kube-dns-ipv4", "192.0.2.1")
}
