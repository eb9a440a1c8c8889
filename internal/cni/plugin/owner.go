// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// Owner names an attachment: the container, its interface and the network. Kernel objects that a plugin makes carry
// it, so that DEL and GC remove what is theirs and nothing else.
type Owner struct {
	Network, ContainerID, IfName string
}

// ownerLimit is what fits an interface alias (256 bytes with the end) and a comment of an nftables element.
const ownerLimit = 250

// String is the owner as it is written on kernel objects: "network/container/interface". The parts cannot hold a
// slash: the specification allows letters, digits, '_', '.', '-' in the first two, and the kernel none in the third.
// If it would be too long for the kernel, the longer names are replaced by their SHA-256.
func (o Owner) String() string {
	s := o.join()
	if len(s) <= ownerLimit {
		return s
	}
	o.Network, o.ContainerID = shorten(o.Network), shorten(o.ContainerID)
	return o.join()
}

func (o Owner) join() string { return o.Network + "/" + o.ContainerID + "/" + o.IfName }

func shorten(name string) string {
	if len(name) <= sha256.Size*2 {
		return name
	}
	return fingerprint(name)
}

// ParseOwner reads what String wrote; names that were too long come back as their SHA-256.
func ParseOwner(s string) (Owner, bool) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 || parts[1] == "" {
		return Owner{}, false
	}
	return Owner{Network: parts[0], ContainerID: parts[1], IfName: parts[2]}, true
}

// DescribeOwner words an owner, as String wrote it, for an error message.
func DescribeOwner(s string) string {
	o, ok := ParseOwner(s)
	if !ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("container %s (interface %s, network %s)", o.ContainerID, o.IfName, o.Network)
}

func fingerprint(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Valid returns a test of whether an owner is among a network's valid attachments. Owners of other networks are none
// of the network's business, and pass. An owner without an interface stands for all interfaces of its container.
func Valid(network string, attachments []types.GCAttachment) func(Owner) bool {
	valid := make(map[string]bool, len(attachments))
	for _, a := range attachments {
		valid[Owner{Network: network, ContainerID: a.ContainerID, IfName: a.IfName}.String()] = true
		valid[Owner{Network: network, ContainerID: a.ContainerID}.String()] = true
	}
	return func(o Owner) bool { return !SameName(o.Network, network) || valid[o.String()] }
}

// SameName compares a network's or container's name with one of an Owner that was read back, which may be shortened.
func SameName(read, full string) bool { return read == full || read == shorten(full) }
