// SPDX-License-Identifier: Apache-2.0

// Package config is the configuration file of cluster DNS: what may change while it serves. docs/dns.md describes it.
package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/yaml"

	"eastwest/internal/dns/forward"
	"eastwest/internal/dns/wire"
)

// Bounds of what a file may hold.
const (
	maxBytes = 1 << 20
	maxZones = 256
)

// Config is a file, read. The zero Config changes nothing.
type Config struct {
	// Upstreams are asked in place of those of resolv.conf: ADDRESS, ADDRESS:PORT or tls://ADDRESS#NAME.
	Upstreams []forward.Server `json:"upstreams,omitempty"`
	// Policy says in which order upstreams are asked, those of stub zones too; empty for forward.Fastest.
	Policy forward.Policy `json:"policy,omitempty"`
	// StubZones are names that other servers are asked about; the longest zone wins.
	StubZones []StubZone `json:"stubZones,omitempty"`
	// Hosts are names with addresses of their own, before all others.
	Hosts []Host `json:"hosts,omitempty"`
	// Rewrites are names that are aliases of others.
	Rewrites []Rewrite `json:"rewrites,omitempty"`
	// Autopath answers a pod's look-up through its search path at once; true where it is not set.
	Autopath *bool `json:"autopath,omitempty"`
	// TLS serves DNS over TLS as well; not at all where it is not set.
	TLS *TLS `json:"tls,omitempty"`
	// QueryLog says which answers are logged: none, errors (SERVFAIL, REFUSED and the like) or all.
	QueryLog string `json:"queryLog,omitempty"`
}

// StubZone is a zone that its own servers know.
type StubZone struct {
	Zone      string           `json:"zone"`
	Upstreams []forward.Server `json:"upstreams"`
}

// Host is an address and its names.
type Host struct {
	Address netip.Addr `json:"address"`
	Names   []string   `json:"names"`
}

// Rewrite answers From with a CNAME to To, and with what To has.
type Rewrite struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// TLS is where DNS is served over TLS, and as whom. The files are read again when they change.
type TLS struct {
	Listen      []string `json:"listen,omitempty"` // ADDRESS:PORT; none for port 853 of every address that DNS is served at
	Certificate string   `json:"certificate"`      // path of a PEM file
	Key         string   `json:"key"`
}

// Parse reads a file. An unknown field, or a value that makes no sense, is an error: what is written has to be done.
func Parse(text []byte) (Config, error) {
	var c Config
	if len(text) > maxBytes {
		return c, fmt.Errorf("read dns configuration: longer than %d bytes", maxBytes)
	}
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return c, fmt.Errorf("read dns configuration: %w", err)
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("read dns configuration: %w", err)
	}
	return c, nil
}

func (c *Config) check() error {
	switch c.QueryLog {
	case "", "none", "errors", "all":
	default:
		return fmt.Errorf("queryLog: %q is none of none, errors, all", c.QueryLog)
	}
	if c.Policy != "" && !slices.Contains(forward.Policies, c.Policy) {
		return fmt.Errorf("policy: %q is none of %q", c.Policy, forward.Policies)
	}
	if len(c.StubZones) > maxZones {
		return fmt.Errorf("stubZones: more than %d", maxZones)
	}
	for _, z := range c.StubZones {
		if len(z.Upstreams) == 0 {
			return fmt.Errorf("stubZones: %q has no upstreams", z.Zone)
		}
		if _, err := wire.Name(z.Zone); err != nil {
			return fmt.Errorf("stubZones: %w", err)
		}
	}
	for _, h := range c.Hosts {
		if !h.Address.IsValid() || len(h.Names) == 0 {
			return fmt.Errorf("hosts: an entry needs an address and names, has %q and %v", h.Address, h.Names)
		}
		for _, n := range h.Names {
			if _, err := wire.Name(n); err != nil {
				return fmt.Errorf("hosts: %w", err)
			}
		}
	}
	if err := c.TLS.check(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	for _, r := range c.Rewrites {
		for _, n := range []string{r.From, r.To} {
			if _, err := wire.Name(n); err != nil || n == "" {
				return fmt.Errorf("rewrites: from %q to %q: not two names", r.From, r.To)
			}
		}
	}
	return nil
}

func (t *TLS) check() error {
	if t == nil {
		return nil
	}
	if t.Certificate == "" || t.Key == "" {
		return errors.New("the paths of certificate and key are needed")
	}
	for _, address := range t.Listen {
		if _, err := netip.ParseAddrPort(address); err != nil {
			return fmt.Errorf("listen: %q is not ADDRESS:PORT", address)
		}
	}
	return nil
}
