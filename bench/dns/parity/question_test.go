// SPDX-License-Identifier: Apache-2.0

package parity

import (
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"
)

// question is one of the generated stream.
type question struct {
	name  string
	qtype uint16
}

var types = []uint16{
	mdns.TypeA, mdns.TypeA, mdns.TypeAAAA, mdns.TypeSRV, mdns.TypeSRV, mdns.TypePTR, mdns.TypeTXT, mdns.TypeCNAME, mdns.TypeMX,
	mdns.TypeSOA, mdns.TypeNS, mdns.TypeHTTPS, mdns.TypeCAA, mdns.TypeANY,
}

// ask makes up a question: mostly about what exists, or nearly.
func (w *world) ask() question {
	q := question{qtype: one(w, types)}
	switch w.IntN(10) {
	case 0:
		q.name = reverse(one(w, w.addrs))
		if w.IntN(2) == 0 {
			q.qtype = mdns.TypePTR
		}
	case 1:
		label := strings.NewReplacer(".", "-", ":", "-").Replace(one(w, w.addrs))
		q.name = label + "." + one(w, namespaces) + ".pod.cluster.local."
	case 2:
		q.name = w.stray()
	default:
		q.name = w.serviceName()
	}
	if w.IntN(8) == 0 {
		q.name = strings.ToUpper(q.name)
	}
	return q
}

func (w *world) serviceName() string {
	namespace, name, _ := strings.Cut(one(w, w.names), "/")
	full := name + "." + namespace + ".svc.cluster.local."
	switch w.IntN(5) {
	case 0:
		return "_" + one(w, []string{"http", "dns", "dns-tcp", "tcp", "none", ""}) + "._" + one(w, []string{"tcp", "udp", "sctp", "quic"}) + "." + full
	case 1:
		return strings.NewReplacer(".", "-", ":", "-").Replace(one(w, w.addrs)) + "." + full
	case 2:
		return one(w, []string{"h-0", "h-1", "h-2", "h-3"}) + "." + full
	}
	return full
}

// stray is a name with labels in places where they may not belong.
func (w *world) stray() string {
	labels := []string{"web", "db", "a", "svc", "pod", "default", "kube-system", "empty", "h-0", "_http", "_tcp", "_udp", "http", "tcp", "dns-version", "dns", "ns", "10-244-0-1", "fd00-244--1", "q"}
	parents := []string{"cluster.local.", "svc.cluster.local.", "pod.cluster.local.", "default.svc.cluster.local.", "empty.svc.cluster.local.", "empty.pod.cluster.local."}
	name := ""
	for range w.IntN(4) {
		name += one(w, labels) + "."
	}
	return name + one(w, parents)
}

func reverse(addr string) string {
	name, err := mdns.ReverseAddr(netip.MustParseAddr(addr).String())
	if err != nil {
		panic(err)
	}
	return name
}
