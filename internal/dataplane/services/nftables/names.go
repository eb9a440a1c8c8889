// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"

	"eastwest/internal/table"
)

// TableName is the name of the table in both families.
const TableName = "eastwest"

const (
	setAddress   = "service-address"
	setHairpin   = "hairpin"
	setSocket    = "local-socket"
	setRanged    = "source-ranged"
	setAllowed   = "allowed-sources"
	setElsewhere = "served-elsewhere"
)

// group is a set of frontends whose endpoints share maps and chains: they have the same form of key, and no two the
// same key.
type group int

const (
	byAddress group = iota
	byNodePort
	outsideByAddress
	outsideByNodePort
	groups
)

// String returns the word that names of the group's objects begin with.
func (g group) String() string {
	return [...]string{"address", "port", "outside-address", "outside-port"}[g]
}

// byPort says that the key is protocol and port, without an address.
func (g group) byPort() bool { return g == byNodePort || g == outsideByNodePort }

const endpointSuffix = "-endpoint"

func endpointMap(g group) string { return g.String() + endpointSuffix }
func affinityMap(g group) string { return g.String() + "-affinity" }

// drawMap names the constant map from a frontend's number to the chain that draws one of its endpoints.
func drawMap(g group) string { return g.String() + "-draw" }

// drawChain names the chain that draws one of so many slots.
func drawChain(g group, slots int) string { return fmt.Sprintf("%s-of-%d", g, slots) }

// stickyChain names the chain that sends a client where it went in the last seconds.
func stickyChain(g group, slots int, seconds uint32) string {
	return fmt.Sprintf("%s-of-%d-sticky-%d", g, slots, seconds)
}

// frontendMap is a map from a frontend's key to its number.
type frontendMap struct {
	name, comment string
	group         group
}

var (
	serviceIP       = frontendMap{"service-ip", "frontend : number of the draw; masquerades clients outside the cluster", byAddress}
	externalIP      = frontendMap{"external-ip", "the same; always masquerades", byAddress}
	externalOutside = frontendMap{"external-ip-outside", "policy Local, for clients outside the cluster; never masquerades", outsideByAddress}
	nodePort        = frontendMap{"node-port", "as external-ip", byNodePort}
	nodePortInside  = frontendMap{"node-port-inside", "policy Local, for clients inside the cluster", byNodePort}
	nodePortOutside = frontendMap{"node-port-outside", "as external-ip-outside", outsideByNodePort}

	frontendMaps = []frontendMap{serviceIP, externalIP, externalOutside, nodePort, nodePortInside, nodePortOutside}
)

// mapOf returns where a frontend belongs: which clients see it and when it is masqueraded say the map.
func mapOf(f table.Frontend) frontendMap {
	switch {
	case f.Kind == table.NodePort && f.View == table.Outside:
		return nodePortOutside
	case f.Kind == table.NodePort && f.Masquerade == table.Always:
		return nodePort
	case f.Kind == table.NodePort:
		return nodePortInside
	case f.View == table.Outside:
		return externalOutside
	case f.Masquerade == table.Always:
		return externalIP
	}
	return serviceIP
}
