// SPDX-License-Identifier: Apache-2.0

package kubelet

import "net/netip"

// Namespaces returns the namespace of every pod of this node by its addresses, as the runtime knows them: that is before
// the API server does. Pods on the host's network are left out, for their address is not theirs alone. It is empty until
// Run began.
func (k *Kubelet) Namespaces() map[netip.Addr]string {
	out := map[netip.Addr]string{}
	if !k.assembled.Load() {
		return out
	}
	for _, v := range k.pods.Views() {
		if v.Pod == nil || v.State == nil || v.Pod.Spec.HostNetwork {
			continue
		}
		sandbox := v.State.ReadySandbox()
		if sandbox == nil {
			continue
		}
		for _, text := range sandbox.IPs {
			if a, err := netip.ParseAddr(text); err == nil {
				out[a.Unmap()] = v.Pod.Namespace
			}
		}
	}
	return out
}
