// SPDX-License-Identifier: Apache-2.0

package render

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var node = Node{Name: "n1", ClusterDNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, ClusterDomain: "cluster.local", CgroupRoot: "ew/n1"}

func pod(change func(p *corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: "u1"}}
	change(p)
	return p
}

func TestDNS(t *testing.T) {
	host := ParseResolver("nameserver 192.0.2.53\nsearch example.com\noptions timeout:1 ndots:2\n# a remark\n")
	two := "2"
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want Resolver
	}{
		{"cluster first", pod(func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSClusterFirst }), Resolver{[]string{"10.96.0.10"},
			[]string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"}, []string{"ndots:5"}}},
		{"host network", pod(func(p *corev1.Pod) { p.Spec.DNSPolicy, p.Spec.HostNetwork = corev1.DNSClusterFirst, true }), host},
		{"own options", pod(func(p *corev1.Pod) {
			p.Spec.DNSPolicy = corev1.DNSClusterFirst
			p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}}}
		}), Resolver{[]string{"10.96.0.10", "192.0.2.1"}, []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"},
			[]string{"ndots:2", "edns0"}}},
		{"none", pod(func(p *corev1.Pod) {
			p.Spec.DNSPolicy = corev1.DNSNone
			p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}}
		}), Resolver{Servers: []string{"192.0.2.1"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := DNS(c.pod, node, host)
			if diff := cmp.Diff(c.want, Resolver{got.GetServers(), got.GetSearches(), got.GetOptions()}); diff != "" {
				t.Errorf("resolver differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCgroupParentFollowsQOS(t *testing.T) {
	with := func(requests, limits string) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			r := corev1.ResourceRequirements{}
			list := func(v string) corev1.ResourceList {
				if v == "" {
					return nil
				}
				return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(v), corev1.ResourceMemory: resource.MustParse("1Gi")}
			}
			r.Requests, r.Limits = list(requests), list(limits)
			p.Spec.Containers = []corev1.Container{{Resources: r}}
		})
	}
	for want, p := range map[string]*corev1.Pod{
		"/ew/n1/kubepods/besteffort/podu1": with("", ""),
		"/ew/n1/kubepods/burstable/podu1":  with("1", ""),
		"/ew/n1/kubepods/podu1":            with("1", "1"),
	} {
		if got := node.CgroupParent(p); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestHostname(t *testing.T) {
	yes := true
	for _, c := range []struct{ name, host, sub, wantHost, wantUTS string }{
		{"plain", "", "", "web-0", "web-0"}, {"subdomain", "db", "nodes", "db", "db.nodes.shop.svc.cluster.local"},
	} {
		p := pod(func(p *corev1.Pod) {
			p.Spec.Hostname, p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = c.host, c.sub, &yes
		})
		host, _, uts, err := Hostname(p, "cluster.local")
		if err != nil || host != c.wantHost || uts != c.wantUTS {
			t.Errorf("%s: %q %q %v", c.name, host, uts, err)
		}
	}
}

// A container's own profile goes before its pod's, and one of the node is named by its path.
func TestSeccomp(t *testing.T) {
	local := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: new("team/strict.json")}
	standard := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	for _, test := range []struct {
		name        string
		own, shared *corev1.SeccompProfile
		privileged  bool
		want        *runtimeapi.SecurityProfile
	}{
		{"none", nil, nil, false, &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}},
		{"the pod's", nil, local, false, &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: "/node/seccomp/team/strict.json"}},
		{"its own", standard, local, false, &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}},
		{"of one that may do all", local, nil, true, &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{SeccompProfile: test.shared},
			Containers: []corev1.Container{{SecurityContext: &corev1.SecurityContext{SeccompProfile: test.own, Privileged: &test.privileged}}}}}
		got := Security(pod, &pod.Spec.Containers[0], Node{SeccompDir: "/node/seccomp"}).GetSeccomp()
		if got.GetProfileType() != test.want.GetProfileType() || got.GetLocalhostRef() != test.want.GetLocalhostRef() {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
