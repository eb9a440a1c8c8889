// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/explain"
)

const (
	tool = "/eastwest-tool"
	// pollEvery is how often a node is asked whether it carries the Service yet.
	pollEvery = 100 * time.Millisecond
	// settle is how long a node may take to carry a Service that the API has.
	settle = 5 * time.Second
)

// observer asks from one client pod.
type observer struct {
	demo    *Demo
	service *corev1.Service
	servers []corev1.Pod
	nodes   []corev1.Node
	pod     *corev1.Pod
}

// observe looks the Service up, reads the way to it, and sends requests. Each step is done even when one before it failed:
// together they show where the fault is.
func (o *observer) observe(ctx context.Context) Client {
	c := Client{Pod: o.pod.Name, Node: o.pod.Spec.NodeName, Address: o.pod.Status.PodIP}
	var err error
	if c.Path, err = o.path(ctx); err != nil {
		c.problem("the way of a request could not be read: %v", err)
	} else {
		o.checkPath(&c)
	}
	if err := o.run(ctx, &c.DNS, "resolve", "--type", recordType(o.service.Spec.ClusterIP), o.service.Name); err != nil {
		c.problem("%v", err)
	} else {
		o.checkDNS(&c)
	}
	port := int(o.service.Spec.Ports[0].Port)
	url := "http://" + net.JoinHostPort(o.service.Name, strconv.Itoa(port)) + "/"
	if err := o.run(ctx, &c.Requests, "request", url, "-n", strconv.Itoa(o.demo.config.Requests), "--timeout", "1s"); err != nil {
		c.problem("%v", err)
	} else {
		o.checkRequests(&c)
	}
	return c
}

// recordType is what a virtual IP is asked for by.
func recordType(address string) string {
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() {
		return "AAAA"
	}
	return "A"
}

// run executes a command of the tool in the client pod and reads its JSON.
func (o *observer) run(ctx context.Context, into any, command ...string) error {
	out, err := o.demo.execIn(ctx, o.pod, append(append([]string{tool}, command...), "-o", "json")...)
	if err != nil {
		return err
	}
	return unmarshal(tool+" "+command[0], out, into)
}

// path reads the way from the client to the Service on its node, until all endpoints are there or settle is over.
func (o *observer) path(ctx context.Context) (*explain.Path, error) {
	address, err := netip.ParseAddr(o.service.Spec.ClusterIP)
	if err != nil {
		return nil, fmt.Errorf("read the virtual IP of Service %s: %w", o.service.Name, err)
	}
	to := netip.AddrPortFrom(address, uint16(o.service.Spec.Ports[0].Port)).String() + "/tcp"
	for deadline := time.Now().Add(settle); ; {
		out, err := o.demo.config.RunOnNode(ctx, o.pod.Spec.NodeName,
			"eastwest-node", "explain", "--from", o.pod.Status.PodIP, "--to", to, "-o", "json")
		if err != nil {
			return nil, err
		}
		path := &explain.Path{}
		if err := unmarshal("eastwest-node explain", out, path); err != nil {
			return nil, err
		}
		if path.Service != nil && path.Service.Endpoints == len(o.servers) || time.Now().After(deadline) || ctx.Err() != nil {
			return path, nil
		}
		time.Sleep(pollEvery)
	}
}

func (o *observer) checkPath(c *Client) {
	for _, text := range c.Path.Problems {
		c.problem("%s", text)
	}
	for _, t := range c.Path.Targets {
		if t.Missing != "" {
			c.problem("node %s has no route to %s, the pods of %s", c.Node, t.Missing, o.owner(t.Missing))
		}
	}
	switch {
	case c.Path.Service == nil:
		c.problem("no rule on node %s takes packets to Service %s", c.Node, o.service.Name)
	case c.Path.Service.Endpoints != len(o.servers):
		c.problem("node %s knows %d endpoints of Service %s, which has %d", c.Node, c.Path.Service.Endpoints, o.service.Name, len(o.servers))
	}
}

// owner names the node whose pods a network is of.
func (o *observer) owner(network string) string {
	for _, node := range o.nodes {
		if node.Spec.PodCIDR == network || slices.Contains(node.Spec.PodCIDRs, network) {
			return "node " + node.Name
		}
	}
	return "no node that the API knows"
}

func (o *observer) checkDNS(c *Client) {
	addresses := c.DNS.Addresses()
	if len(addresses) == 0 {
		c.problem("the name %s does not resolve", o.service.Name)
	} else if !slices.Contains(addresses, o.service.Spec.ClusterIP) {
		c.problem("the name %s resolves to %v, not to %s", o.service.Name, addresses, o.service.Spec.ClusterIP)
	}
}

func (o *observer) checkRequests(c *Client) {
	for text, n := range c.Requests.Errors {
		c.problem("%d of %d requests failed: %s", n, c.Requests.Requests, text)
	}
	for host := range c.Requests.Hosts {
		if !slices.ContainsFunc(o.servers, func(p corev1.Pod) bool { return p.Name == host }) {
			c.problem("%s answered, which is no pod of the Service", host)
		}
	}
	for address := range c.Requests.Clients {
		if address != c.Address {
			c.problem("servers saw the client as %s, not by its own address %s: something translated it on the way", address, c.Address)
		}
	}
}
