// SPDX-License-Identifier: Apache-2.0

package table

import (
	"net/netip"
	"reflect"
	"testing"
)

// Two rows that differ in anything are not equal: each field, those of frontends as well, is looked at.
func TestServicesDifferInEachField(t *testing.T) {
	addr, port, prefix := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParsePrefix("192.0.2.0/24")
	other := func(v reflect.Value) {
		switch v.Interface().(type) {
		case netip.Addr:
			v.Set(reflect.ValueOf(addr))
		case Object:
			v.Set(reflect.ValueOf(Object{Name: "other"}))
		case []netip.Addr:
			v.Set(reflect.ValueOf([]netip.Addr{addr}))
		case []netip.AddrPort:
			v.Set(reflect.ValueOf([]netip.AddrPort{port}))
		case []netip.Prefix:
			v.Set(reflect.ValueOf([]netip.Prefix{prefix}))
		case []Frontend:
			v.Set(reflect.ValueOf([]Frontend{{}, {}}))
		case bool:
			v.SetBool(true)
		case string:
			v.SetString("other")
		case int:
			v.SetInt(1)
		default:
			v.SetUint(1)
		}
	}
	row := func() Service { return Service{Frontends: []Frontend{{}}} }
	for _, of := range []func(*Service) reflect.Value{
		func(s *Service) reflect.Value { return reflect.ValueOf(s).Elem() },
		func(s *Service) reflect.Value { return reflect.ValueOf(&s.Frontends[0]).Elem() },
	} {
		s := row()
		for i := range of(&s).NumField() {
			changed := row()
			other(of(&changed).Field(i))
			if row().Equal(changed) || row().Alike(changed) || !changed.Equal(changed) || !changed.Alike(changed) {
				t.Errorf("a row is what it is with another %s", of(&s).Type().Field(i).Name)
			}
		}
	}
	nobody := row()
	nobody.Frontends[0].SourceRanges = []netip.Prefix{}
	if row().Equal(nobody) {
		t.Error("a frontend for everybody is one for nobody")
	}
}

func TestEndpointsInAnyOrderAreAlike(t *testing.T) {
	row := func(endpoints ...string) Service {
		f := Frontend{}
		for _, e := range endpoints {
			f.Endpoints = append(f.Endpoints, netip.MustParseAddrPort(e))
		}
		return Service{Frontends: []Frontend{f}}
	}
	a, b, c := row("192.0.2.1:80", "192.0.2.2:80"), row("192.0.2.2:80", "192.0.2.1:80"), row("192.0.2.2:80", "192.0.2.2:81")
	if a.Equal(b) || !a.Alike(b) || a.Alike(c) || a.Alike(row("192.0.2.1:80")) {
		t.Error("order counts, or endpoints do not")
	}
	if a.Frontends[0].Endpoints[0] != netip.MustParseAddrPort("192.0.2.1:80") {
		t.Error("comparing changed a row")
	}
}
