// SPDX-License-Identifier: Apache-2.0

package masquerade

import (
	"crypto/sha512"
	"encoding/hex"
	"strings"

	"github.com/google/nftables"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/plugin"
)

// The reference plugins' backend nftables has a rule for each address, whose comment begins with hashes of whose it is and
// goes on with the names, as far as there is room (containernetworking/plugins 1.9, pkg/ip/ipmasq_nftables_linux.go):
//
//	table inet cni_plugins_masquerade, chain masq_checks:
//	ip saddr 10.88.0.2 ip daddr != 10.88.0.0/16 masquerade comment "0123456789abcdef-fedcba9876543210, net: podman, if: eth0, id: 4f…"
const (
	referenceTable = "cni_plugins_masquerade"
	referenceChain = "masq_checks"
)

// deleteReference removes what the reference plugins made for an owner.
func deleteReference(o plugin.Owner) error {
	return removeReference(func(comment string) bool { return strings.HasPrefix(comment, referenceHash(o)) })
}

// sweepReference removes what they made for owners that are not alive. Whose a comment is that was cut short is not known.
func sweepReference(alive func(plugin.Owner) bool) error {
	return removeReference(func(comment string) bool {
		o, ok := referenceOwner(comment)
		return ok && !alive(o)
	})
}

func removeReference(unwanted func(comment string) bool) error {
	return nftrule.RemoveCommented(nftables.TableFamilyINet, referenceTable, unwanted, referenceChain)
}

func referenceHash(o plugin.Owner) string {
	return digits(o.Network) + "-" + digits(o.IfName+":"+o.ContainerID)
}

func digits(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:8])
}

func referenceOwner(comment string) (plugin.Owner, bool) {
	hash, names, _ := strings.Cut(comment, ", net: ")
	network, names, _ := strings.Cut(names, ", if: ")
	ifName, container, _ := strings.Cut(names, ", id: ")
	o := plugin.Owner{Network: network, ContainerID: container, IfName: ifName}
	return o, hash == referenceHash(o)
}
