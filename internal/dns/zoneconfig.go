// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"log/slog"
	"net/netip"
)

// PodMode says which pod records (a-b-c-d.NAMESPACE.pod.DOMAIN) are answered.
type PodMode string

// Modes of pod records, under CoreDNS's names.
const (
	PodsDisabled PodMode = "disabled" // none
	PodsInsecure PodMode = "insecure" // any address in any namespace that exists
	PodsVerified PodMode = "verified" // addresses that the Namespace row lists as endpoints
)

// ZoneConfig says which zone a Zone answers for. The zero value of a field means its default.
type ZoneConfig struct {
	Domain      string         // cluster domain; default cluster.local
	Nameservers []netip.Addr   // addresses of the cluster's DNS (10.96.0.10), for NS and ns.dns.DOMAIN; may be empty
	Reverse     []netip.Prefix // service and pod ranges: their reverse names are never forwarded; see Zone.SetReverse
	Pods        PodMode        // default insecure
	TTL         uint32         // seconds, of records that no row makes (pods, NS, dns-version); default 30
	NegativeTTL uint32         // seconds that a missing name may be remembered; default 5
	Log         *slog.Logger   // default: nothing is logged
}

func (c ZoneConfig) withDefaults() ZoneConfig {
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	if c.Pods == "" {
		c.Pods = PodsInsecure
	}
	if c.TTL == 0 {
		c.TTL = 30
	}
	if c.NegativeTTL == 0 {
		c.NegativeTTL = 5
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
