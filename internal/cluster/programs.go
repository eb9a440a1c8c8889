// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"eastwest/internal/cluster/machine"
)

// Programs are the command lines of a cluster's processes and what it means that they serve. Each field may be replaced,
// which is how tests run a cluster without Kubernetes.
type Programs struct {
	// Standins says that the fields below need neither eastwest's own programs nor a container runtime.
	Standins bool
	// Server is run on the control plane, Agent on every node. Paths are those inside a node.
	Server func(r *Record) []string
	Agent  func(r *Record, node Node) []string
	// Relay is run on the host where its resolvers are on loopback: it serves DNS at the gateway's address.
	Relay func(r *Record, programDir string) []string
	// Install is run once on each node before its agent; nil or empty for nothing.
	Install func() []string
	// Load is run on each node to put an archive, which it reads at the given path, into the node's image store.
	Load func(r *Record, archive string) []string
	// Ready returns when the whole cluster serves, and reports how far it is.
	Ready func(ctx context.Context, target ReadyTarget) error
}

func (p Programs) withDefaults() Programs {
	if p.Server == nil {
		p.Server = serverCommand
	}
	if p.Agent == nil {
		p.Agent = agentCommand
	}
	if p.Relay == nil {
		p.Relay = relayCommand
	}
	if p.Install == nil {
		p.Install = installCommand
	}
	if p.Load == nil {
		p.Load = loadCommand
	}
	if p.Ready == nil {
		p.Ready = awaitReady
	}
	return p
}

func inNode(program string) string { return filepath.Join(machine.ProgramMount, program) }

// Paths inside a node.
const (
	serverDataDir = machine.StateMount + "/server"
	agentToken    = machine.StateMount + "/agent/token"
	criRoot       = machine.StateMount + "/cri"
)

func serverCommand(r *Record) []string {
	command := []string{
		inNode("eastwest-server"),
		"--data-dir", serverDataDir,
		"--advertise-address", r.ControlPlane().Address().String(),
		"--secure-port", strconv.Itoa(r.APIPort),
		"--cluster-cidr", list(r.PodCIDRs),
		"--service-cluster-ip-range", list(r.ServiceCIDRs),
		"--cluster-domain", r.Domain,
	}
	for _, pool := range r.LoadBalancers {
		command = append(command, "--load-balancer-pool", pool.String())
	}
	if len(r.Controllers) > 0 {
		command = append(command, "--controllers", strings.Join(r.Controllers, ","))
	}
	return command
}

func agentCommand(r *Record, node Node) []string {
	command := []string{
		inNode("eastwest-node"), "agent",
		"--server", r.Server(),
		"--token-file", agentToken,
		"--node-name", node.Name,
		"--node-ip", list(node.Addresses),
		"--cluster-cidr", list(r.PodCIDRs),
		"--service-cluster-ip-range", list(r.ServiceCIDRs),
		"--cluster-domain", r.Domain,
		"--builtin-image", "eastwest.local/tool=" + inNode("eastwest-tool"),
	}
	if runtime, ok := r.runtime(); ok {
		command = append(command, "--cri", runtime.endpoint, "--pause-image", pauseImage)
	}
	for _, mirror := range r.Mirrors {
		command = append(command, "--registry-mirror", mirror)
	}
	if r.CNI != "" {
		command = append(command, "--cni", r.CNI)
	}
	if r.Overlay != "" {
		command = append(command, "--overlay", r.Overlay)
	}
	if r.ShutdownGracePeriod > 0 {
		command = append(command, "--shutdown-grace-period", r.ShutdownGracePeriod.String(),
			"--shutdown-grace-period-critical-pods", r.ShutdownGracePeriodCriticalPods.String())
	}
	if node.Backend != "" {
		command = append(command, "--backend", node.Backend)
	}
	return command
}

func relayCommand(r *Record, programDir string) []string {
	return []string{
		filepath.Join(programDir, "eastwest-node"), "dns",
		"--listen", netip.AddrPortFrom(r.Gateways()[0], 53).String(), "--resolv-conf", r.HostResolvConf,
	}
}

func installCommand() []string {
	return []string{inNode("eastwest-cni"), "install", "--dir", "/opt/cni/bin"}
}

func loadCommand(r *Record, archive string) []string {
	command := []string{inNode("eastwest-node"), "image", "load"}
	if runtime, ok := r.runtime(); ok {
		return append(command, "--cri", runtime.endpoint, archive)
	}
	return append(command, "--root", criRoot, archive)
}
