// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"testing"

	"github.com/vishvananda/netlink"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns/netnstest"
)

func TestHandlesStayInTheirNamespace(t *testing.T) {
	here, there := open(t, netnstest.New(t)), open(t, netnstest.New(t))
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "one"}, PeerName: "two"}
	if err := here.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	if _, err := here.LinkByName("two"); err != nil {
		t.Errorf("the peer is not in the same namespace: %v", err)
	}
	if _, err := there.LinkByName("one"); !link.IsNotFound(err) {
		t.Errorf("looking the link up elsewhere = %v, want not found", err)
	}
	links, err := here.LinkList()
	if err != nil || len(links) != 3 {
		t.Errorf("links = %v, %v; want lo, one, two", links, err)
	}
}

func open(t *testing.T, path string) *link.Handle {
	t.Helper()
	h, err := link.OpenAt(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}
