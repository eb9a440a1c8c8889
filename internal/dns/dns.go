// SPDX-License-Identifier: Apache-2.0

// Package dns answers cluster names and forwards everything else.
//
//	table.Name rows ─▶ Zone (prepared records, swapped per changed row) ─┐
//	                                                                     ├─▶ Server: UDP in batches, TCP
//	resolv.conf ─▶ forward ─▶ cache (prepared replies) ──────────────────┘
//
// A query that the Zone or the cache can answer is answered where it was read, without allocating. Everything else
// (names to forward, aliases to chase) goes to a bounded number of goroutines. A name under the cluster domain is never
// forwarded. Rules: Kubernetes DNS specification 1.1.0; where answers differ from CoreDNS's kubernetes plugin, and why,
// stands in docs/dns.md.
package dns
