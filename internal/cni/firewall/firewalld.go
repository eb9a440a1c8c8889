// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"context"
	"errors"
	"fmt"
	"strings"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/godbus/dbus/v5"

	"eastwest/internal/cni/plugin"
)

// firewalld's interface on the system's message bus. https://firewalld.org/documentation/man-pages/firewalld.dbus.html
const (
	busName       = "org.fedoraproject.FirewallD1"
	busPath       = "/org/fedoraproject/FirewallD1"
	zoneInterface = busName + ".zone."
)

// firewalld is the backend firewalld.
type firewalld struct {
	conn *dbus.Conn
	zone string
}

var errNoFirewalld = errors.New("reach firewalld")

// connectFirewalld fails, with errNoFirewalld, if there is no message bus or no firewalld on it.
func connectFirewalld(zone string) (*firewalld, error) {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoFirewalld, err)
	}
	var owner string
	if err := conn.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, busName).Store(&owner); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: it does not run: %w", errNoFirewalld, err)
	}
	return &firewalld{conn: conn, zone: zone}, nil
}

func (f *firewalld) close() { _ = f.conn.Close() }

func (f *firewalld) call(ctx context.Context, method string, ip *current.IPConfig, answer any) error {
	object := f.conn.Object(busName, busPath)
	return object.CallWithContext(ctx, zoneInterface+method, 0, f.zone, hostPrefix(ip.Address.IP)).Store(answer)
}

func (f *firewalld) add(ctx context.Context, _ plugin.Owner, result *current.Result) error {
	for _, ip := range result.IPs {
		var zone string
		if err := f.call(ctx, "addSource", ip, &zone); err != nil && !strings.Contains(err.Error(), "ZONE_ALREADY_SET") {
			return fmt.Errorf("add %s to firewalld's zone %s: %w", ip.Address.IP, f.zone, err)
		}
	}
	return nil
}

func (f *firewalld) check(ctx context.Context, _ plugin.Owner, result *current.Result) error {
	for _, ip := range result.IPs {
		var found bool
		if err := f.call(ctx, "querySource", ip, &found); err != nil {
			return fmt.Errorf("look for %s in firewalld's zone %s: %w", ip.Address.IP, f.zone, err)
		}
		if !found {
			return fmt.Errorf("%s is not in firewalld's zone %s", ip.Address.IP, f.zone)
		}
	}
	return nil
}

// remove does not mind sources that are not there, which firewalld gives an error for.
func (f *firewalld) remove(ctx context.Context, _ plugin.Owner, result *current.Result) error {
	if result == nil {
		return nil
	}
	for _, ip := range result.IPs {
		var zone string
		if err := f.call(ctx, "removeSource", ip, &zone); err != nil && !strings.Contains(err.Error(), "UNKNOWN_SOURCE") {
			return fmt.Errorf("remove %s from firewalld's zone %s: %w", ip.Address.IP, f.zone, err)
		}
	}
	return nil
}
