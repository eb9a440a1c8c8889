// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"eastwest/internal/client"
	"eastwest/internal/cni/forwarding"
	"eastwest/internal/kernel/sysctl"
)

// Ways to attach pods, by the names of their CNI plugins.
const (
	CNIPTP    = "ptp"
	CNIBridge = "bridge"

	podBridge = "br0"
)

// prepareCNI makes the kernel ready for the plugin. Pods on one bridge answer each other past the node's own network, and
// so past the translation of services, unless the bridge hands their packets to it.
func (a *agent) prepareCNI() error {
	if a.CNI != CNIBridge {
		return nil
	}
	for _, name := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
		if err := sysctl.Ensure(name, "1"); err != nil {
			return fmt.Errorf("let services work between pods of one bridge: load the kernel module br_netfilter (modprobe br_netfilter), or use --cni ptp: %w", err)
		}
	}
	return nil
}

// conflistName is the file that the agent writes; its number puts it before what others install by default.
const conflistName = "10-eastwest.conflist"

// configureCNI writes the node's CNI configuration when the Node has its pod CIDRs and services, names and routes are in
// place. The runtime reports its network ready when the file is there, and with it the Node becomes Ready.
func (a *agent) configureCNI(ctx context.Context, network *Network) error {
	cidrs, err := a.awaitPodCIDRs(ctx)
	if err != nil {
		return err
	}
	if err := network.WaitReady(ctx); err != nil {
		return err
	}
	// Without this file no pod is started, and so none looks in vain for an image that is on its way.
	select {
	case <-a.imagesThere:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := a.prepareCNI(); err != nil {
		return err
	}
	mtu, err := network.podMTU(ctx)
	if err != nil {
		return err
	}
	content, err := conflist(a.CNI, mtu, cidrs)
	if err != nil {
		return err
	}
	path := filepath.Join(a.CNIConfDir, conflistName)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	if err := os.MkdirAll(a.CNIConfDir, 0o755); err != nil {
		return fmt.Errorf("make CNI configuration folder: %w", err)
	}
	temporary := path + ".tmp" // a name that CNI does not read
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	a.Log.InfoContext(ctx, "wrote CNI configuration", "file", path, "cidrs", cidrs)
	return nil
}

// awaitPodCIDRs watches this Node until it has its CIDRs.
func (a *agent) awaitPodCIDRs(ctx context.Context) ([]netip.Prefix, error) {
	found := make(chan []string, 1)
	look := func(object any) {
		if node, ok := object.(*corev1.Node); ok && len(node.Spec.PodCIDRs) > 0 {
			select {
			case found <- node.Spec.PodCIDRs:
			default:
			}
		}
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: client.Watched(a.client.Core(), "nodes", "", fields.OneTermEqualSelector("metadata.name", a.NodeName)),
		ObjectType:    &corev1.Node{},
		Handler:       cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, object any) { look(object) }},
	})
	go informer.RunWithContext(watching)
	select {
	case texts := <-found:
		return parsePrefixes(texts)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("read pod CIDR %q of this node: %w", text, err)
		}
		prefixes = append(prefixes, prefix)
	}
	if len(prefixes) == 0 {
		return nil, errors.New("this node has no pod CIDR")
	}
	return slices.Clip(prefixes), nil
}

// The JSON of a CNI network configuration list, specification 1.0.0 section 1; only what we write.
type (
	networkList struct {
		CNIVersion string `json:"cniVersion"`
		Name       string `json:"name"`
		Plugins    []any  `json:"plugins"`
	}
	ptpPlugin struct {
		Type   string   `json:"type"`
		IPMasq bool     `json:"ipMasq"`
		IPAM   ipamPart `json:"ipam"`
		MTU    int      `json:"mtu,omitempty"`

		Forwarding forwarding.Scope `json:"forwarding"`
	}
	bridgePlugin struct {
		Type             string           `json:"type"`
		Bridge           string           `json:"bridge"`
		IsDefaultGateway bool             `json:"isDefaultGateway"`
		HairpinMode      bool             `json:"hairpinMode"`
		IPSpoofCheck     bool             `json:"ipspoofchk"`
		IPMasq           bool             `json:"ipMasq"`
		IPAM             ipamPart         `json:"ipam"`
		MTU              int              `json:"mtu,omitempty"`
		Forwarding       forwarding.Scope `json:"forwarding"`
	}
	ipamPart struct {
		Type    string          `json:"type"`
		DataDir string          `json:"dataDir"`
		Routes  []routePart     `json:"routes"`
		Ranges  [][]subnetRange `json:"ranges"`
	}
	routePart struct {
		Dst string `json:"dst"`
	}
	subnetRange struct {
		Subnet string `json:"subnet"`
	}
	chainedPart struct {
		Type         string          `json:"type"`
		Capabilities map[string]bool `json:"capabilities"`
	}
)

// conflist returns the configuration of a node with these pod CIDRs: what kind nodes have, ptp with host-local addresses
// and portmap chained behind it, or bridge instead of ptp. Pods send from their own addresses alone, which ptp does by itself. The agent masquerades and lets the node's own
// links forward, so they do not. mtu 0 leaves it to the kernel.
func conflist(plugin string, mtu int, cidrs []netip.Prefix) ([]byte, error) {
	ipam := ipamPart{Type: "host-local", DataDir: "/run/cni-ipam-state"}
	for _, cidr := range cidrs {
		ipam.Ranges = append(ipam.Ranges, []subnetRange{{Subnet: cidr.Masked().String()}})
		any := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if cidr.Addr().Is6() {
			any = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		ipam.Routes = append(ipam.Routes, routePart{Dst: any.String()})
	}
	var attach any = ptpPlugin{Type: CNIPTP, IPAM: ipam, MTU: mtu, Forwarding: forwarding.Links}
	if plugin == CNIBridge {
		attach = bridgePlugin{Type: CNIBridge, Bridge: podBridge, IsDefaultGateway: true, HairpinMode: true, IPSpoofCheck: true, IPAM: ipam, MTU: mtu, Forwarding: forwarding.Links}
	}
	data, err := json.MarshalIndent(networkList{
		CNIVersion: "1.0.0", Name: "eastwest",
		Plugins: []any{attach, chainedPart{Type: "portmap", Capabilities: map[string]bool{"portMappings": true}}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode CNI configuration: %w", err)
	}
	return append(data, '\n'), nil
}
