// SPDX-License-Identifier: Apache-2.0

package handover

import (
	"net/netip"

	"eastwest/internal/table"
)

// row and frontend are those of package table, field by field, with numbers instead of names: a file is half as long.
type row struct {
	Object         table.Object     `cbor:"1,keyasint"`
	Frontends      []table.Frontend `cbor:"-"`
	Hairpin        []netip.Addr     `cbor:"2,keyasint"`
	Addresses      []netip.Addr     `cbor:"3,keyasint"`
	HealthCheck    uint16           `cbor:"4,keyasint"`
	LocalEndpoints int              `cbor:"5,keyasint"`
}

type frontend struct {
	Kind            table.Kind       `cbor:"1,keyasint"`
	View            table.View       `cbor:"2,keyasint"`
	Addr            netip.Addr       `cbor:"3,keyasint"`
	Protocol        table.Protocol   `cbor:"4,keyasint"`
	Port            uint16           `cbor:"5,keyasint"`
	PortName        string           `cbor:"6,keyasint"`
	Action          table.Action     `cbor:"7,keyasint"`
	Local           bool             `cbor:"8,keyasint"`
	Endpoints       []netip.AddrPort `cbor:"9,keyasint"`
	Draining        []netip.AddrPort `cbor:"10,keyasint"`
	Masquerade      table.Masquerade `cbor:"11,keyasint"`
	AffinitySeconds uint32           `cbor:"12,keyasint"`
	SourceRanges    []netip.Prefix   `cbor:"13,keyasint"` // none is everybody, an empty list nobody
	LocalSocket     bool             `cbor:"14,keyasint"`
}

// service is a row with its frontends.
type service struct {
	Row       row        `cbor:"1,keyasint"`
	Frontends []frontend `cbor:"2,keyasint"`
}

// set makes it that of a row.
func (s *service) set(of table.Service) {
	s.Row, s.Frontends = row(of), s.Frontends[:0]
	for _, f := range of.Frontends {
		s.Frontends = append(s.Frontends, frontend(f))
	}
}

// get returns the row.
func (s *service) get() table.Service {
	of := table.Service(s.Row)
	for _, f := range s.Frontends {
		of.Frontends = append(of.Frontends, table.Frontend(f))
	}
	return of
}
