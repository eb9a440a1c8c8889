// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
)

// readConf reads a list of plugins, or a single plugin, which is a list of one.
func readConf(file string) (*libcni.NetworkConfigList, error) {
	if filepath.Ext(file) == ".conflist" {
		list, err := libcni.ConfListFromFile(file)
		if err != nil {
			return nil, fmt.Errorf("network config %s: %w", file, err)
		}
		if len(list.Plugins) == 0 {
			return nil, fmt.Errorf("network config %s: no plugins in the list", file)
		}
		return list, nil
	}
	single, err := libcni.ConfFromFile(file) //nolint:staticcheck // nodes have single plugins in their folders, whatever libcni will read
	if err != nil {
		return nil, fmt.Errorf("network config %s: %w", file, err)
	}
	if single.Network.Type == "" {
		return nil, fmt.Errorf("network config %s: no type of plugin; is it a list, to be named .conflist?", file)
	}
	list, err := libcni.ConfListFromConf(single) //nolint:staticcheck // the same
	if err != nil {
		return nil, fmt.Errorf("network config %s: %w", file, err)
	}
	return list, nil
}

// bandwidth is CNI's bandwidth capability; rates are bits per second, bursts bits.
type bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// unlimitedBurst is the largest burst that tc takes, which other runtimes use.
const unlimitedBurst = 1<<31 - 1

// runtimeConf is what plugins are told of a pod. libcni gives each plugin only the capabilities that it declares.
func runtimeConf(pod Pod) *libcni.RuntimeConf {
	caps := map[string]any{}
	if len(pod.Ports) > 0 {
		caps["portMappings"] = pod.Ports
	}
	if pod.IngressRate > 0 || pod.EgressRate > 0 {
		b := bandwidth{IngressRate: pod.IngressRate, EgressRate: pod.EgressRate}
		if b.IngressRate > 0 {
			b.IngressBurst = unlimitedBurst
		}
		if b.EgressRate > 0 {
			b.EgressBurst = unlimitedBurst
		}
		caps["bandwidth"] = b
	}
	if len(pod.DNS.Servers)+len(pod.DNS.Searches)+len(pod.DNS.Options) > 0 {
		caps["dns"] = pod.DNS
	}
	if pod.CgroupParent != "" {
		caps["cgroupPath"] = pod.CgroupParent
	}
	if len(pod.Annotations) > 0 {
		caps["io.kubernetes.cri.pod-annotations"] = pod.Annotations
	}
	return &libcni.RuntimeConf{
		ContainerID: pod.ID, NetNS: pod.NetNS, IfName: Interface, CapabilityArgs: caps,
		Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", pod.Namespace}, {"K8S_POD_NAME", pod.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", pod.ID}, {"K8S_POD_UID", pod.UID},
		},
	}
}
