// SPDX-License-Identifier: Apache-2.0

// Package reguard brings the guards of containers' source addresses back where another program took them away. What a
// container may send is in the results that runtimes keep of ADD (libcni's cache).
package reguard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns"
)

// Config says where to look.
type Config struct {
	CacheDirs []string // of libcni; those that are not there count for nothing
	NetNS     string   // path of the node's network namespace; empty for that of the process
}

// guard is one of sourceguard's.
type guard interface {
	Add() error
	Check() error
}

// Restore adds the guards that are missing, of containers that are attached, and returns whose they are. It goes on after an
// error and returns all of them.
func Restore(c Config) (restored []plugin.Owner, err error) {
	ns := c.NetNS
	if ns == "" {
		ns = "/proc/thread-self/ns/net"
	}
	err = netns.Do(ns, func() error {
		host, err := link.Open()
		if err != nil {
			return err
		}
		defer host.Close()
		errs := []error{sourceguard.DropBroken()}
		for _, dir := range c.CacheDirs {
			cache := libcni.NewCNIConfigWithCacheDir(nil, filepath.Clean(dir), nil)
			attachments, err := cache.GetCachedAttachments("")
			errs = append(errs, err)
			for _, a := range attachments {
				owner := plugin.Owner{Network: a.Network, ContainerID: a.ContainerID, IfName: a.IfName}
				again, err := restore(host, cache, a, owner)
				if err != nil {
					errs = append(errs, fmt.Errorf("guard container %s again: %w", a.ContainerID, err))
				}
				if again {
					restored = append(restored, owner)
				}
			}
		}
		return errors.Join(errs...)
	})
	return restored, err
}

func restore(host *link.Handle, cache *libcni.CNIConfig, a *libcni.NetworkAttachment, owner plugin.Owner) (again bool, err error) {
	list, err := libcni.NetworkConfFromBytes(a.Config)
	if err != nil {
		return false, nil // of one plugin, or of another program
	}
	kept, err := cache.GetNetworkListCachedResult(list, &libcni.RuntimeConf{ContainerID: a.ContainerID, NetNS: a.NetNS, IfName: a.IfName})
	if err != nil || kept == nil {
		return false, err
	}
	result, err := current.NewResultFromResult(kept)
	if err != nil {
		return false, err
	}
	for _, p := range list.Plugins {
		g, err := guardOf(host, p, result, owner)
		if err != nil || g == nil || g.Check() == nil {
			if err != nil {
				return again, err
			}
			continue
		}
		if err := g.Add(); err != nil {
			return again, err
		}
		again = true
		if hostEnd(host, result, owner) == "" { // detached meanwhile
			return false, sourceguard.Remove(owner)
		}
	}
	return again, nil
}

// guardOf returns the guard that a plugin put in place; nil if it has none.
func guardOf(host *link.Handle, p *libcni.PluginConfig, result *current.Result, owner plugin.Owner) (guard, error) {
	name := hostEnd(host, result, owner)
	if name == "" {
		return nil, nil
	}
	var addresses []net.IPNet
	for _, ip := range result.IPs {
		addresses = append(addresses, ip.Address)
	}
	switch p.Network.Type {
	case "ptp":
		l, err := host.LinkByName(name)
		if err != nil || l.Attrs().Group != sourceguard.Group {
			return nil, nil // not ours, or gone
		}
		return sourceguard.Routed{Owner: owner, Link: name, Addresses: addresses}, nil
	case "bridge":
		var conf struct {
			IPSpoofCheck bool `json:"ipspoofchk"`
		}
		if err := json.Unmarshal(p.Bytes, &conf); err != nil || !conf.IPSpoofCheck {
			return nil, err
		}
		for _, i := range result.Interfaces {
			if i.Sandbox == "" || i.Name != owner.IfName {
				continue
			}
			mac, err := net.ParseMAC(i.Mac)
			if err != nil {
				return nil, fmt.Errorf("read hardware address of %s: %w", i.Name, err)
			}
			return sourceguard.Bridged{Owner: owner, Port: name, MAC: mac, Addresses: addresses}, nil
		}
	}
	return nil, nil
}

// hostEnd returns the name of the host's end of a container's cable, by its alias; empty when there is none.
func hostEnd(host *link.Handle, result *current.Result, owner plugin.Owner) string {
	for _, i := range result.Interfaces {
		if i.Sandbox != "" {
			continue
		}
		if l, err := host.LinkByName(i.Name); err == nil && l.Attrs().Alias == attach.Alias(owner) {
			return i.Name
		}
	}
	return ""
}
