// SPDX-License-Identifier: Apache-2.0

package iptrule

import (
	"slices"
	"strings"
	"testing"

	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/iptables"
)

const saved = `*nat
:PREROUTING ACCEPT [0:0]
:CNI-A - [0:0]
:CNI-B - [0:0]
-A PREROUTING -p tcp -m comment --comment "dnat name: \"net\" id: \"a\"" -j CNI-A
-A PREROUTING -j CNI-B
-A CNI-B -j CNI-A
COMMIT
`

func TestOnlyWhatDiffersIsWritten(t *testing.T) {
	table := parse(iptables.IPv4, "nat", saved)
	table.EnsureChain("CNI-A")
	table.Append("PREROUTING", "-j CNI-B")
	if len(table.made)+len(table.edits) != 0 {
		t.Errorf("edits = %q %q, want none", table.made, table.edits)
	}
	table.Insert("PREROUTING", "-j CNI-C")
	table.Drop("CNI-A")
	slices.Sort(table.edits)
	want := []string{"-D CNI-B -j CNI-A", `-D PREROUTING -p tcp -m comment --comment "dnat name: \"net\" id: \"a\"" -j CNI-A`, "-F CNI-A", "-I PREROUTING 1 -j CNI-C", "-X CNI-A"}
	if !slices.Equal(table.edits, want) {
		t.Errorf("edits = %q, want %q", table.edits, want)
	}
	if table.Drop("CNI-A") {
		t.Error("a chain was dropped twice")
	}
}

func TestCommentsNameOwners(t *testing.T) {
	o := plugin.Owner{Network: "net", ContainerID: "abc"}
	got, ok := Owner("-p tcp -m comment --comment " + Comment("dnat ", o) + " -j CNI-A")
	if !ok || got != o {
		t.Errorf("owner = %+v, %v", got, ok)
	}
	if name := ChainName("CNI-DN-", o); len(name) != chainLimit || !strings.HasPrefix(name, "CNI-DN-") {
		t.Errorf("chain name %q", name)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(saved)
	f.Fuzz(func(t *testing.T, text string) {
		table := parse(iptables.IPv6, "nat", text)
		for _, chain := range table.Chains("") {
			table.Drop(chain)
		}
		if left := table.Chains(""); len(left) != 0 {
			t.Errorf("chains after all were dropped: %q", left)
		}
	})
}
