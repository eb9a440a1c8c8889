// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dns/forward"
)

// Converted is what a Corefile means here.
type Converted struct {
	Config Config
	Flags  []string // of `eastwest dns`, for what is fixed at its start
	Left   []string // what has no counterpart: line, directive and reason
}

// Convert reads a Corefile. What it cannot express is named in Left and left out; a Corefile that cannot be read at all
// is an error.
func Convert(corefile string) (Converted, error) {
	var c Converted
	blocks, err := parseCorefile(corefile)
	if err != nil {
		return c, err
	}
	for _, b := range blocks {
		if scheme, _, ok := strings.Cut(b.words[0], "://"); ok && scheme != "dns" {
			c.leave(b, "say --listen-tls ADDRESS:PORT, --tls-cert FILE and --tls-key FILE for DNS over TLS")
			continue
		}
		zones := make([]string, 0, len(b.words))
		for _, z := range b.words {
			zones = append(zones, zoneOf(strings.TrimSuffix(z, ",")))
		}
		root := slices.Contains(zones, ".")
		for _, d := range b.body {
			if !root && d.words[0] == "forward" {
				c.stub(d, zones)
				continue
			}
			if !root && !slices.Contains(implied, d.words[0]) {
				c.leave(d, "only forward is known in the block of a zone")
				continue
			}
			c.directive(d)
		}
	}
	return c, c.Config.check()
}

// zoneOf takes scheme and port off a block's address.
func zoneOf(address string) string {
	address = strings.TrimPrefix(address, "dns://")
	zone, _, _ := strings.Cut(address, ":")
	if zone == "." || zone == "" {
		return "."
	}
	return strings.TrimSuffix(zone, ".")
}

// implied are directives that need nothing: they are always done, or mean nothing here.
var implied = []string{"errors", "health", "ready", "loop", "reload", "loadbalance", "cache"}

func (c *Converted) leave(d directive, why string) {
	c.Left = append(c.Left, fmt.Sprintf("line %d: %s: %s", d.line, strings.Join(d.words, " "), why))
}

func (c *Converted) directive(d directive) {
	switch d.words[0] {
	case "errors", "ready", "health", "loop", "reload", "loadbalance":
	case "cache":
		for _, o := range d.body {
			if !slices.Contains([]string{"disable", "success", "denial", "prefetch", "serve_stale"}, o.words[0]) {
				c.leave(o, "no counterpart")
			}
		}
	case "autopath":
		if len(d.words) < 2 || d.words[len(d.words)-1] != "@kubernetes" {
			c.leave(d, "only @kubernetes is known, which is how search paths are answered anyway")
		}
	case "log":
		c.Config.QueryLog = "all"
	case "prometheus":
		address := "localhost:9153"
		if len(d.words) > 1 {
			address = d.words[1]
		}
		c.Flags = append(c.Flags, "--metrics "+address)
	case "bind":
		c.leave(d, "say --listen ADDRESS:PORT")
	case "kubernetes":
		c.kubernetes(d)
	case "forward":
		c.forward(d)
	case "hosts":
		c.hosts(d)
	case "rewrite":
		c.rewrite(d)
	default:
		c.leave(d, "no counterpart")
	}
}

func (c *Converted) kubernetes(d directive) {
	for _, zone := range d.words[1:] {
		if zone = strings.TrimSuffix(zone, "."); !strings.HasSuffix(zone, "arpa") && zone != "cluster.local" {
			c.Flags = append(c.Flags, "--cluster-domain "+zone)
		}
	}
	for _, o := range d.body {
		switch o.words[0] {
		case "pods", "ttl", "kubeconfig":
			if len(o.words) < 2 {
				c.leave(o, "needs a value")
				continue
			}
			c.Flags = append(c.Flags, "--"+o.words[0]+" "+o.words[1])
		case "fallthrough":
			for _, zone := range o.words[1:] {
				if !strings.HasSuffix(zone, "arpa") {
					c.leave(o, "a name of the cluster never leaves it")
				}
			}
		default:
			c.leave(o, "no counterpart")
		}
	}
}

// servers reads the targets of a forward directive.
func (c *Converted) servers(d directive) []forward.Server {
	var out []forward.Server
	for _, to := range d.words[min(2, len(d.words)):] {
		server, err := forward.ParseServer(to)
		switch {
		case strings.HasPrefix(to, "/"):
			c.Flags = append(c.Flags, "--resolv-conf "+to)
		case err == nil:
			out = append(out, server)
		default:
			c.leave(directive{line: d.line, words: []string{"forward", to}}, "only addresses and files are known")
		}
	}
	for _, o := range d.body {
		switch {
		case o.words[0] == "tls_servername" && len(o.words) > 1:
			for i := range out {
				if out[i].TLS {
					out[i].Name = o.words[1]
				}
			}
		case o.words[0] == "policy" && len(o.words) > 1:
			c.policy(o)
		case !slices.Contains([]string{"max_concurrent", "health_check", "prefer_udp", "expire", "max_fails"}, o.words[0]):
			c.leave(o, "no counterpart")
		}
	}
	return out
}

// policy reads an order of servers. There is one for all here; a random server is as good as each in turn.
func (c *Converted) policy(d directive) {
	policy, known := map[string]forward.Policy{"sequential": forward.Sequential, "round_robin": forward.RoundRobin, "random": forward.RoundRobin}[d.words[1]]
	switch {
	case !known:
		c.leave(d, "no counterpart")
	case c.Config.Policy != "" && c.Config.Policy != policy:
		c.leave(d, "there is one policy for all servers")
	default:
		c.Config.Policy = policy
	}
}

func (c *Converted) forward(d directive) {
	if len(d.words) > 1 && d.words[1] != "." {
		c.stub(d, []string{strings.TrimSuffix(d.words[1], ".")})
		return
	}
	c.Config.Upstreams = append(c.Config.Upstreams, c.servers(d)...)
}

func (c *Converted) stub(d directive, zones []string) {
	servers := c.servers(d)
	if len(servers) == 0 {
		c.leave(d, "no server whose address is known")
		return
	}
	for _, zone := range zones {
		c.Config.StubZones = append(c.Config.StubZones, StubZone{Zone: zone, Upstreams: servers})
	}
}

func (c *Converted) hosts(d directive) {
	if len(d.words) > 1 {
		c.leave(d, "write the entries of a file into the block")
	}
	for _, o := range d.body {
		addr, err := netip.ParseAddr(o.words[0])
		switch {
		case err == nil && len(o.words) > 1:
			c.Config.Hosts = append(c.Config.Hosts, Host{Address: addr, Names: o.words[1:]})
		case o.words[0] != "fallthrough" && o.words[0] != "ttl" && o.words[0] != "no_reverse":
			c.leave(o, "no counterpart")
		}
	}
}

// rewrite knows names alone, each for one other: what is more than that is said to be left.
func (c *Converted) rewrite(d directive) {
	words := d.words[1:]
	if len(words) > 0 && (words[0] == "stop" || words[0] == "continue") {
		words = words[1:]
	}
	if len(words) > 1 && words[0] == "name" && words[1] == "exact" {
		words = append([]string{"name"}, words[2:]...)
	}
	if len(words) != 3 || words[0] != "name" || len(d.body) > 0 {
		c.leave(d, "only name FROM TO is known")
		return
	}
	c.Config.Rewrites = append(c.Config.Rewrites, Rewrite{From: words[1], To: words[2]})
}
