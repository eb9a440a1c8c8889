// SPDX-License-Identifier: Apache-2.0

// Package snapshot holds what this node knows of the cluster, as plain values: watch trims API objects to them and puts
// them into a Store; the pipeline takes immutable Snapshots out of it, together with what changed since the last one.
package snapshot

import (
	"net/netip"

	"eastwest/internal/table"
)

// Snapshot is the cluster at one moment. It is immutable; tables share what did not change.
type Snapshot struct {
	Services table.Table[*Service] // by namespace/name
	Slices   table.Table[[]*Slice] // by namespace/name of their Service, sorted by name
	Nodes    table.Table[*Node]    // by name
	OnLink   []netip.Prefix        // networks that this node is on, sorted; empty where nobody asked for them
	// ServiceCIDRs are the ranges of all virtual addresses, sorted.
	ServiceCIDRs []netip.Prefix

	Namespaces table.Table[bool]   // those that exist, by name; empty where nobody asked for them
	Pods       table.Table[[]*Pod] // by namespace, sorted by name; empty where nobody asked for them
}

// Changes says what differs from the snapshot that was taken before.
type Changes struct {
	Services []string // namespace/name of services that changed themselves or through a slice
	Nodes    []string
	OnLink   bool
	// ServiceCIDRs says that the ranges of virtual addresses are others.
	ServiceCIDRs bool
	// Namespaces names those that changed themselves or through a pod.
	Namespaces []string
}
