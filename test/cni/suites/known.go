// SPDX-License-Identifier: Apache-2.0

package suites

import "strings"

// spec is one that fails, and why. The same list stands in docs/cni.md.
type spec struct {
	plugin string
	name   string // what its name begins with, after "[It] "
	times  int    // for how many versions of the specification it fails
	why    string
	// needs is what a kernel may lack that the spec fails on, and given what it has to have for the spec to get so far.
	needs, given need
}

type need int

const (
	nothing need = iota
	vlanFiltering
)

func (s spec) matches(name string) bool {
	_, text, _ := strings.Cut(name, "[It] ")
	return strings.HasPrefix(text, s.name)
}

const (
	ownBackend = "the plugin has nftables as its default, in a table of its own; what a packet meets is tested in internal/cni/program (TestMasquerade, TestBackendsMapPorts)"
	leftBehind = "the reference fails in writing its result, and leaves the interface behind; ours takes it away, as a runtime takes such an ADD for failed"
	noBridge   = "all that it expects holds; cleaning up it looks for the bridge of an ADD that failed, which ours does not make before IPAM has answered"
	noVLANs    = "the kernel's bridges filter no VLANs"
)

// known are the specs that fail.
var known = []spec{
	{plugin: "main/bridge", name: `configures a bridge and ipMasq rules with ipMasqBackend ""`, times: 5, why: ownBackend},
	{plugin: "main/bridge", name: `configures a bridge and ipMasq rules with ipMasqBackend "nftables"`, times: 5, why: ownBackend},
	{plugin: "main/bridge", name: "(3) configures and deconfigures a bridge and veth with default route with ADD/DEL", times: 2, why: noBridge},
	{plugin: "main/bridge", name: "(3) configures and deconfigures a bridge, veth with default route and vlanID 100", times: 2, why: noBridge, given: vlanFiltering},
	{plugin: "main/bridge", name: "checks ip release in case of error", times: 7,
		why: "it sets a variable inside of the reference; addresses come back after an ADD that fails: TestFailedAddGivesAddressesBack in internal/cni/program"},
	{plugin: "main/bridge", name: "configures and deconfigures a l2 bridge with vlan", times: 7, why: noVLANs, needs: vlanFiltering},
	{plugin: "main/bridge", name: "(0) configures and deconfigures a bridge, veth with default route and vlanID 100", times: 7, why: noVLANs, needs: vlanFiltering},
	{plugin: "main/bridge", name: "(1) configures and deconfigures a bridge, veth with default route and vlanID 100", times: 7, why: noVLANs, needs: vlanFiltering},
	{plugin: "main/bridge", name: "(2) configures and deconfigures a bridge, veth with default route and vlanID 100", times: 7, why: noVLANs, needs: vlanFiltering},
	{plugin: "main/bridge", name: "(3) configures and deconfigures a bridge, veth with default route and vlanID 100", times: 7, why: noVLANs, needs: vlanFiltering},
	{plugin: "main/macvlan", name: "configures and deconfigures a l2 macvlan link with ADD/DEL", times: 6, why: leftBehind},
	{plugin: "main/macvlan", name: "configures and deconfigures l2 macvlan link with mac address (from CNI_ARGS) with ADD/DEL", times: 6, why: leftBehind},
	{plugin: "main/macvlan", name: "configures and deconfigures l2 macvlan link with mac address (from RuntimeConfig) with ADD/DEL", times: 6, why: leftBehind},
	{plugin: "ipam/host-local", name: "ignores whitespace in disk files", times: 7,
		why: "its container's id has whitespace, which the library refuses before either plugin is called; leases with whitespace: TestLeasesWithWhitespace in internal/cni/hostlocal"},
	{plugin: "meta/tuning", name: "does not allow ifname with path separator", times: 4,
		why: "the library refuses such a name before either plugin is called, in words of its own"},
}

// knownFor are those of a plugin, on a kernel that has what have says.
func knownFor(plugin string, have map[need]bool) []spec {
	var out []spec
	for _, s := range known {
		if s.plugin == plugin && (s.needs == nothing || !have[s.needs]) && (s.given == nothing || have[s.given]) {
			out = append(out, s)
		}
	}
	return out
}
