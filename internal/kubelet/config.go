// SPDX-License-Identifier: Apache-2.0

// Package kubelet is the role of the kubelet: it runs the pods that are bound to this node on any CRI runtime, reports them and
// the node to the API, and serves logs, exec and port-forward.
//
//	API watch ─┐                        ┌─ status, events → API
//	CRI events ┼→ one worker a pod ─────┼─ sandboxes, containers → CRI
//	probes ────┘                        └─ volumes, cgroups → node
package kubelet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/client"
	"eastwest/internal/kubelet/image"
	"eastwest/internal/kubelet/shutdown"
)

// Version is what the node says about its kubelet: the Kubernetes release whose behaviour this is.
const Version = "v1.36.3"

// Config says everything about one kubelet. Fields without a remark are required.
type Config struct {
	NodeName           string
	NodeIPs            []netip.Addr
	RootDir            string // /var/lib/eastwest/kubelet: volumes below pods/<uid>/
	LogDir             string // /var/log/pods when empty
	RuntimeEndpoint    string // unix:///run/eastwest/cri.sock
	ImageEndpoint      string // the runtime's when empty
	ClusterDNS         []netip.Addr
	ClusterDomain      string // cluster.local when empty
	ResolvConf         string // /etc/resolv.conf when empty
	Client             *client.Client
	Listen             string // host:port of the server, :10250 when empty
	ServingCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ClientCA           *x509.CertPool
	Labels             map[string]string // optional
	Taints             []corev1.Taint    // optional
	MaxPods            int               // 110 when 0
	StaticPodPath      string            // folder of manifests; none when empty
	CgroupRoot         string            // pods' groups are made below <root>/kubepods; the hierarchy's root when empty
	UnsafeSysctls      []string          // that pods may set beside the safe ones
	ImageAccess        image.Access      // whose images pods may use; its Dir is image_manager in RootDir when empty
	Eviction           EvictionConfig
	Shutdown           shutdown.Periods // how long pods may take to end before the machine does; none: they end with it
	Logind             shutdown.Logind  // what is followed for that; the machine's own when empty
	CgroupMount        string           // /sys/fs/cgroup when empty
	Log                *slog.Logger
}

// EvictionConfig says when pods are evicted for the node's sake.
type EvictionConfig struct {
	Hard       string        // what has to stay free, as a kubelet's --eviction-hard says it; DefaultEvictionHard when empty
	Soft       string        // what should stay free, as --eviction-soft says it; nothing when empty
	SoftGrace  string        // for how long each of Soft may be met, as --eviction-soft-grace-period says it
	MaxPod     int32         // how many seconds pods may take that go for Soft
	Period     time.Duration // between looks at the node; 10 s when 0
	Transition time.Duration // for how long the node says that it is under pressure after it was; 5 min when 0
}

// DefaultEvictionHard leaves more of a disk to use than Kubernetes does, which looks at disks that nodes have for themselves.
const DefaultEvictionHard = "memory.available<100Mi,nodefs.available<2%,nodefs.inodesFree<2%,pid.available<5%"

func (c *EvictionConfig) complete() {
	standard(&c.Hard, DefaultEvictionHard)
	if c.Period == 0 {
		c.Period = 10 * time.Second
	}
	if c.Transition == 0 {
		c.Transition = 5 * time.Minute
	}
}

func (c *Config) complete() error {
	var errs []error
	c.Eviction.complete()
	errs = append(errs, c.ImageAccess.Check())
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("kubelet: "+what+" is missing: set it"))
		}
	}
	need(c.NodeName != "", "the node's name")
	need(len(c.NodeIPs) > 0, "the node's address")
	need(c.RootDir != "", "the root directory")
	need(c.RuntimeEndpoint != "", "the container runtime's endpoint")
	need(c.Client != nil, "the API client")
	need(c.ServingCertificate != nil, "the serving certificate")
	standard(&c.LogDir, "/var/log/pods")
	standard(&c.ClusterDomain, "cluster.local")
	standard(&c.ResolvConf, "/etc/resolv.conf")
	standard(&c.Listen, ":10250")
	standard(&c.CgroupMount, "/sys/fs/cgroup")
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.RootDir, err = filepath.Abs(c.RootDir); err != nil {
		errs = append(errs, err)
	}
	standard(&c.ImageAccess.Dir, filepath.Join(c.RootDir, "image_manager"))
	return errors.Join(errs...)
}

func standard(value *string, otherwise string) {
	if *value == "" {
		*value = otherwise
	}
}

// port is the number that the API server finds the server at.
func port(l net.Listener) int32 {
	_, text, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(text, 10, 32) // the kernel's own words
	return int32(n)
}
