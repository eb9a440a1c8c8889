// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"eastwest/internal/addressplan"
	"eastwest/internal/kernel/hostnet"
)

// Options describe a cluster to be made.
type Options struct {
	// Name is the cluster's name, Nodes how many nodes it has.
	Name  string
	Nodes int
	// Kubeconfig is the file to write the context to; empty means the usual one.
	Kubeconfig string
	// IPFamily, NodeCIDRs, PodCIDRs, ServiceCIDRs, Domain and APIPort are as in Record. Without NodeCIDRs the node network is
	// the first private range that is free, without the others they are the families' defaults.
	IPFamily     IPFamily
	NodeCIDRs    []netip.Prefix
	PodCIDRs     []netip.Prefix
	ServiceCIDRs []netip.Prefix
	Domain       string
	APIPort      int
	// LoadBalancers are as in Record; without any they are the end of the node network.
	LoadBalancers []addressplan.Range
	// Controllers, CNI and Overlay are as in Record.
	Controllers []string
	CNI         string
	Overlay     string
	// CRI and Mirrors are as in Record.
	CRI     string
	Mirrors []string
	// ShutdownGracePeriod and ShutdownGracePeriodCriticalPods are as in Record.
	ShutdownGracePeriod, ShutdownGracePeriodCriticalPods time.Duration
	// Backend is as in Node, of all nodes.
	Backend string
	// ResolvConf is the host's file that names the resolvers to ask for names outside the cluster.
	ResolvConf string
	// Wait bounds how long the cluster may take to serve.
	Wait time.Duration
	// Retain keeps a cluster that did not come up, to be looked at.
	Retain bool
}

// DefaultOptions are the defaults of the command line.
func DefaultOptions() Options {
	return Options{
		Name:       DefaultName,
		Nodes:      3,
		IPFamily:   IPv4,
		Domain:     "cluster.local",
		APIPort:    6443,
		ResolvConf: defaultResolvConf,
		Wait:       5 * time.Minute,
	}
}

func (o Options) check() error {
	if err := CheckName(o.Name); err != nil {
		return err
	}
	if err := oneOf("--ip-family", string(o.IPFamily), Families()...); err != nil {
		return err
	}
	if err := oneOf("--overlay", o.Overlay, "none", "vxlan", "auto"); err != nil {
		return err
	}
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return fmt.Errorf("a cluster of %d nodes: --nodes must be from 1 to %d", o.Nodes, MaxNodes)
	}
	if o.APIPort < 1 || o.APIPort > 65535 {
		return fmt.Errorf("port %d for the API server: --api-port must be from 1 to 65535", o.APIPort)
	}
	return errors.Join(oneOf("--cni", o.CNI, "ptp", "bridge"), checkBackend(o.Backend), checkRuntime(o.CRI), checkMirrors(o.Mirrors), o.checkShutdown())
}

func (o Options) checkShutdown() error {
	for _, d := range []time.Duration{o.ShutdownGracePeriod, o.ShutdownGracePeriodCriticalPods} {
		if d != 0 && d < time.Second {
			return fmt.Errorf("--shutdown-grace-period %s: expected 0s, or 1s and more", d)
		}
	}
	if o.ShutdownGracePeriodCriticalPods > o.ShutdownGracePeriod {
		return fmt.Errorf("--shutdown-grace-period-critical-pods %s is part of --shutdown-grace-period, and cannot be more than its %s",
			o.ShutdownGracePeriodCriticalPods, o.ShutdownGracePeriod)
	}
	return nil
}

func oneOf(flag, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s %q: expected %s", flag, value, strings.Join(allowed, " or "))
}

func checkBackend(name string) error { return oneOf("--backend", name, "nftables", "iptables", "ipvs") }

// cleanUp bounds the removal of a cluster that did not come up.
const cleanUp = 30 * time.Second

// Up makes a cluster and returns when it serves. Unless told to retain it, a cluster that does not come up is removed
// again.
func (c *Clusters) Up(ctx context.Context, options Options) (*Record, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	if err := c.checkHost(options.Backend); err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, c.stateDir(options.Name))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if _, err := os.Stat(filepath.Join(c.stateDir(options.Name), recordFile)); !errors.Is(err, fs.ErrNotExist) {
		return nil, &ExistsError{Name: options.Name}
	}
	if c.elsewhere(options.Name) {
		_ = os.Remove(c.stateDir(options.Name))
		return nil, fmt.Errorf("a cluster %q with other --run-dir and --state-dir is up: give the new one another --name", options.Name)
	}
	record, err := c.bringUp(ctx, options)
	if err == nil || options.Retain {
		return record, err
	}
	later, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	if removeErr := c.remove(later, options.Name); removeErr != nil {
		err = errors.Join(err, fmt.Errorf("clean up: %w", removeErr))
	}
	return nil, err
}

// elsewhere reports whether processes run under the cluster's name that no folder here tells of. Control groups, links and
// tables go by the name alone, so two such clusters would end each other.
func (c *Clusters) elsewhere(name string) bool {
	if _, err := os.Stat(c.runDir(name)); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	// A thread of this process that started another cluster's may have yet to end.
	return slices.ContainsFunc(c.group(name).PIDs(), func(pid int) bool { return pid != os.Getpid() })
}

func (c *Clusters) bringUp(ctx context.Context, options Options) (*Record, error) {
	// Leftovers without a record are of an Up or Down that was killed.
	if c.traces(options.Name) {
		if err := c.removeRuntime(ctx, options.Name); err != nil {
			return nil, err
		}
	}
	record, err := c.plan(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := c.run(ctx, record, record.Nodes, options.Wait); err != nil {
		return record, err
	}
	return record, c.writeKubeconfig(record, options.Kubeconfig)
}

// plan decides names, addresses and switches, and records them; one Up at a time, so that two clusters never choose the
// same range.
func (c *Clusters) plan(ctx context.Context, options Options) (*Record, error) {
	lock, err := lockDir(ctx, c.config.StateDir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	resolvConf, err := readResolvers(options.ResolvConf)
	if err != nil {
		return nil, err
	}
	used, err := c.used(resolvConf)
	if err != nil {
		return nil, err
	}
	record := &Record{
		Name: options.Name, Created: time.Now().UTC().Truncate(time.Second), IPFamily: options.IPFamily, Domain: options.Domain,
		APIPort: options.APIPort, HostResolvConf: options.ResolvConf, CNI: options.CNI, Overlay: options.Overlay,
		CRI: options.CRI, Mirrors: options.Mirrors,
		ShutdownGracePeriod: options.ShutdownGracePeriod, ShutdownGracePeriodCriticalPods: options.ShutdownGracePeriodCriticalPods,
	}
	if record.RuntimePath, err = findRuntime(record); err != nil {
		return nil, err
	}
	if err := record.chooseRanges(options, used); err != nil {
		return nil, err
	}
	record.ResolvConf, record.Relay = nodeResolvConf(resolvConf, record.Gateways())
	if record.Sysctls, err = c.wantForwarding(record); err != nil {
		return nil, err
	}
	return record, record.save(c.stateDir(record.Name))
}

// chooseRanges decides the ranges of every family, and places the nodes in them.
func (r *Record) chooseRanges(options Options, used []hostnet.Use) error {
	var err error
	if r.PodCIDRs, err = r.IPFamily.rangesOf("--pod-cidr", options.PodCIDRs, func(one family) netip.Prefix { return one.pods }); err != nil {
		return err
	}
	if r.ServiceCIDRs, err = r.IPFamily.rangesOf("--service-cidr", options.ServiceCIDRs, func(one family) netip.Prefix { return one.services }); err != nil {
		return err
	}
	families := r.IPFamily.families()
	if len(options.NodeCIDRs) > 0 {
		if r.NodeCIDRs, err = r.IPFamily.rangesOf("--node-cidr", options.NodeCIDRs, nil); err != nil {
			return err
		}
	}
	for i, one := range families {
		if len(r.NodeCIDRs) == i {
			reserved := append(slices.Clone(used), hostnet.Use{Range: r.PodCIDRs[i]}, hostnet.Use{Range: r.ServiceCIDRs[i]})
			network, err := chooseNodeCIDR(one, reserved)
			if err != nil {
				return err
			}
			r.NodeCIDRs = append(r.NodeCIDRs, network)
		}
		if err := checkRanges(one, r.NodeCIDRs[i], r.PodCIDRs[i], r.ServiceCIDRs[i], used); err != nil {
			return err
		}
	}
	if r.Nodes, err = nodes(r.Name, options.Nodes, families, r.NodeCIDRs, r.PodCIDRs); err != nil {
		return err
	}
	for i := range r.Nodes {
		r.Nodes[i].Backend = options.Backend
	}
	r.Controllers = options.Controllers
	r.LoadBalancers, err = loadBalancers(r, options.LoadBalancers)
	return err
}

// used lists the ranges that are taken: by the host, by its resolvers, and by clusters that are planned but not there yet.
func (c *Clusters) used(resolvConf string) ([]hostnet.Use, error) {
	used, err := hostnet.Occupied()
	if err != nil {
		return nil, err
	}
	for _, address := range nameservers(resolvConf) {
		used = append(used, hostnet.Use{Range: netip.PrefixFrom(address, address.BitLen()), By: "resolver in /etc/resolv.conf"})
	}
	records, err := c.records()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		for _, network := range r.NodeCIDRs {
			used = append(used, hostnet.Use{Range: network, By: "node network of cluster " + r.Name})
		}
	}
	return used, nil
}
