// SPDX-License-Identifier: Apache-2.0

package show

import (
	"context"
	"net/netip"

	"eastwest/internal/kernel/forward"
)

// Route is a route of a node's main table. Fields are only ever added to its JSON form.
type Route struct {
	Node        string `json:"node"`
	Destination string `json:"destination"` // a prefix, or default
	Via         string `json:"via,omitempty"`
	Device      string `json:"device"`
	Kind        string `json:"kind"` // of the device: veth, bridge, vxlan, device, …
	MTU         int    `json:"mtu"`
	Source      string `json:"source,omitempty"`
	Protocol    string `json:"protocol"`
	Tunnel      string `json:"tunnel,omitempty"` // address of the node that encapsulated packets are sent to
	Pod         string `json:"pod,omitempty"`    // namespace/name of the pod that it leads to
	Peer        string `json:"peer,omitempty"`   // node whose pods it leads to
	IPv6        bool   `json:"ipv6,omitempty"`
}

// Routes lists the routes of this node in the kernel's order. Pods are named where the container runtime answers.
func Routes(ctx context.Context, config Config) ([]Route, error) {
	reader, err := forward.Open("", config.NetnsDir)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	table, err := reader.Table()
	if err != nil {
		return nil, err
	}
	owners := map[string]string{}
	if pods, err := Pods(ctx, config); err == nil {
		for _, pod := range pods {
			for _, address := range pod.Addresses {
				owners[address] = pod.Key()
			}
		}
	}
	routes := make([]Route, 0, len(table))
	for _, e := range table {
		route := Route{
			Node: config.Node, Destination: e.Destination.String(), Via: text(e.Via), Device: e.Device, Kind: e.Kind, MTU: e.MTU,
			Source: text(e.Source), Protocol: protocol(e.Protocol), Tunnel: text(e.Remote), IPv6: e.Destination.Addr().Is6(),
		}
		if e.Destination.Bits() == 0 {
			route.Destination = "default"
		}
		if e.Destination.IsSingleIP() {
			route.Destination = e.Destination.Addr().String()
			route.Pod = owners[route.Destination]
		}
		routes = append(routes, route)
	}
	return routes, nil
}

// NamePeers fills in the node that a route leads to, by the address of its next hop or of its tunnel's other end.
func NamePeers(routes []Route, nodes map[netip.Addr]string) {
	for i := range routes {
		r := &routes[i]
		for _, hop := range []string{r.Tunnel, r.Via} {
			if address, err := netip.ParseAddr(hop); err == nil && r.Peer == "" && r.Destination != "default" {
				r.Peer = nodes[address]
			}
		}
	}
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// protocol names ours; `ip route` shows numbers.
func protocol(kernel string) string {
	switch kernel {
	case "201", "202":
		return "eastwest"
	}
	return kernel
}
