// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"eastwest/internal/table"
)

// Question names a packet.
type Question struct {
	From     netip.Addr // of a pod on this node, or of any host beyond; invalid means this node itself
	To       netip.AddrPort
	Protocol table.Protocol
}

// Parse reads a question as people write it: from is an address, or empty for the node itself; to is
// address:port[/protocol], with tcp unless said otherwise.
func Parse(from, to string) (Question, error) {
	var q Question
	var err error
	if from != "" {
		if q.From, err = netip.ParseAddr(from); err != nil {
			return q, fmt.Errorf("source %q is not an address: %w", from, err)
		}
	}
	place, protocol, given := strings.Cut(to, "/")
	if !given {
		protocol = "tcp"
	}
	if q.Protocol, err = protocolOf(protocol); err != nil {
		return q, err
	}
	if q.To, err = netip.ParseAddrPort(place); err != nil {
		return q, fmt.Errorf("destination %q is not of the form address:port[/protocol]: %w", to, err)
	}
	if q.From.IsValid() && q.From.Is4() != q.To.Addr().Is4() {
		return q, errors.New("source and destination are of different address families")
	}
	return q, nil
}

func protocolOf(text string) (table.Protocol, error) {
	for _, p := range []table.Protocol{table.TCP, table.UDP, table.SCTP} {
		if strings.EqualFold(text, p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("protocol %q is not tcp, udp or sctp", text)
}

// String returns the packet in the form that Parse reads.
func (q Question) String() string {
	return fmt.Sprintf("%s/%s", q.To, q.Protocol)
}
