// SPDX-License-Identifier: Apache-2.0

// Package network connects pods by CNI plugins: the configuration and the plugins are looked up in the node's folders at
// every call, so that they may appear, and change, while pods run.
package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// Interface is the name of a pod's network device, as everywhere in Kubernetes.
const Interface = "eth0"

// pluginTimeout bounds a call of all plugins: one that hangs fails the pod, which is then tried again.
const pluginTimeout = 2 * time.Minute

// ErrNotReady says that the node has no network configuration yet.
var ErrNotReady = errors.New("cni plugin not initialized")

// Config is where the node's network configuration is.
type Config struct {
	ConfDir string
	BinDirs []string
	// CacheDir is where libcni keeps the results of ADD, for the DEL that follows.
	CacheDir string
	// Timeout bounds a call of all plugins; zero stands for two minutes.
	Timeout time.Duration
}

// Network calls plugins. It has no state of its own.
type Network struct {
	cfg Config
	cni *libcni.CNIConfig
}

// New makes a Network; nothing is read before it is used.
func New(cfg Config) *Network {
	if cfg.Timeout == 0 {
		cfg.Timeout = pluginTimeout
	}
	return &Network{cfg: cfg, cni: libcni.NewCNIConfigWithCacheDir(cfg.BinDirs, cfg.CacheDir, &programs{})}
}

// Pod says which pod to connect.
type Pod struct {
	ID        string // of the sandbox
	NetNS     string // path of the network namespace
	Name      string
	Namespace string
	UID       string
	Ports     []Port
	// Bandwidth limits in bits per second; 0 for none.
	IngressRate, EgressRate uint64
	DNS                     DNS
	Annotations             map[string]string
	CgroupParent            string
}

// Port is a port of the node that leads to one of the pod, in the form that CNI's portMappings capability has.
type Port struct {
	HostPort      int32  `json:"hostPort"`
	ContainerPort int32  `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// DNS is CNI's dns capability.
type DNS struct {
	Servers  []string `json:"servers,omitempty"`
	Searches []string `json:"searches,omitempty"`
	Options  []string `json:"options,omitempty"`
}

// Ready returns ErrNotReady, with the reason, while there is no usable configuration.
func (n *Network) Ready() error {
	_, _, err := n.load()
	return err
}

// Add connects a pod and returns its addresses, and the configuration used, which Remove wants back. After an error the
// plugins have been told to undo what they did.
func (n *Network) Add(ctx context.Context, pod Pod) (addrs []netip.Addr, conf []byte, err error) {
	list, conf, err := n.load()
	if err != nil {
		return nil, nil, err
	}
	add, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	result, err := n.cni.AddNetworkList(add, list, runtimeConf(pod))
	if err == nil {
		addrs, err = addresses(result)
	}
	if err != nil {
		err = fmt.Errorf("plugin of network %q failed: %w", list.Name, err)
		return nil, nil, errors.Join(err, n.Remove(context.WithoutCancel(ctx), pod, conf))
	}
	return addrs, conf, nil
}

// Remove disconnects a pod. conf is what Add returned; without it the present configuration is used. A pod that is not
// connected, and a network namespace that is gone, are no error.
func (n *Network) Remove(ctx context.Context, pod Pod, conf []byte) error {
	list, err := n.listFor(conf)
	if errors.Is(err, ErrNotReady) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	if err := n.cni.DelNetworkList(ctx, list, runtimeConf(pod)); err != nil {
		return fmt.Errorf("disconnect pod from network %q: %w", list.Name, err)
	}
	return nil
}

func (n *Network) listFor(conf []byte) (*libcni.NetworkConfigList, error) {
	if len(conf) == 0 {
		list, _, err := n.load()
		return list, err
	}
	list, err := libcni.ConfListFromBytes(conf)
	if err != nil {
		return nil, fmt.Errorf("read recorded network configuration: %w", err)
	}
	return list, nil
}

// load reads the first usable configuration in the order of file names, as every runtime does.
func (n *Network) load() (*libcni.NetworkConfigList, []byte, error) {
	files, err := libcni.ConfFiles(n.cfg.ConfDir, []string{".conf", ".conflist", ".json"})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: read %s: %w", ErrNotReady, n.cfg.ConfDir, err)
	}
	slices.Sort(files)
	var problems []error
	for _, file := range files {
		list, err := readConf(file)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		return list, list.Bytes, nil
	}
	err = fmt.Errorf("%w: no network config found in %s", ErrNotReady, n.cfg.ConfDir)
	return nil, nil, errors.Join(append([]error{err}, problems...)...)
}

// addresses are those of the pod's own interface, in the order that the plugins give them, IPv4 first.
func addresses(result types.Result) ([]netip.Addr, error) {
	r, err := current.NewResultFromResult(result)
	if err != nil {
		return nil, fmt.Errorf("read result of plugins: %w", err)
	}
	var addrs []netip.Addr
	for _, ip := range r.IPs {
		if ip.Interface != nil && *ip.Interface < len(r.Interfaces) && r.Interfaces[*ip.Interface].Sandbox == "" {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	if len(addrs) == 0 {
		return nil, errors.New("plugins gave the pod no address")
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return addrs, nil
}
