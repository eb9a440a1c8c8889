// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dns/wire"
	"eastwest/internal/table"
)

// recordsEdit is a change to the records under way.
type recordsEdit struct {
	services   *serviceEdit
	namespaces *indexEdit[string, *namespace]
	reverse    *reverseEdit
}

func (r *records) edit() *recordsEdit {
	return &recordsEdit{r.services.edit(), r.namespaces.edit(), r.reverse.edit()}
}

// commit shows the change to readers: names first, so that whoever follows a pointer finds its name.
func (e *recordsEdit) commit() {
	e.namespaces.commit()
	e.services.commit()
	e.reverse.commit()
}

// replace puts the row of key in the place of what was there; with ok false only takes that away.
func (z *Zone) replace(e *recordsEdit, key string, row table.Name, ok bool) {
	ns, name, _ := strings.Cut(key, "/")
	nsKey, err := wire.AppendLabels(nil, ns)
	if err == nil && name == "" {
		e.replaceNamespace(string(nsKey), row, ok)
		return
	}
	labels, err2 := wire.AppendLabels(nil, name)
	if err != nil || err2 != nil {
		z.cfg.Log.Warn("dns row left out: its key is no name", "key", key)
		return
	}
	e.removeService(string(nsKey), string(labels)+string(nsKey))
	if !ok {
		return
	}
	s, err := newService(row, len(z.domain))
	if err != nil {
		z.cfg.Log.Warn("dns row left out", "object", row.Object.String(), "err", err)
		return
	}
	e.addService(string(nsKey), s)
}

func (e *recordsEdit) addService(nsKey string, s *service) {
	e.services.set(s.key, s)
	e.updateNamespace(nsKey, func(n *namespace) { n.services++ })
	for addr, p := range s.pointers() {
		e.reverse.set(addr, append(e.reverse.get(addr), p))
	}
}

func (e *recordsEdit) removeService(nsKey, key string) {
	s, ok := e.services.get(key)
	if !ok {
		return
	}
	e.services.delete(key)
	e.updateNamespace(nsKey, func(n *namespace) { n.services-- })
	for addr := range s.pointers() {
		e.reverse.set(addr, slices.DeleteFunc(e.reverse.get(addr), func(p pointer) bool { return p.service == s }))
	}
}

func (e *recordsEdit) replaceNamespace(nsKey string, row table.Name, ok bool) {
	e.updateNamespace(nsKey, func(n *namespace) {
		n.row, n.object, n.pods = ok, row.Object, nil
		if len(row.Endpoints) > 0 {
			n.pods = make(map[netip.Addr]bool, len(row.Endpoints))
		}
		for _, p := range row.Endpoints {
			n.pods[p.Addr.Unmap()] = true
		}
	})
}

// updateNamespace changes a copy, because readers may hold the old one.
func (e *recordsEdit) updateNamespace(nsKey string, change func(*namespace)) {
	next := namespace{}
	if old, ok := e.namespaces.get(nsKey); ok {
		next = *old
	}
	change(&next)
	if next.services == 0 && !next.row {
		e.namespaces.delete(nsKey)
		return
	}
	e.namespaces.set(nsKey, &next)
}

// pointers yields every address that leads back to a name of the service.
func (s *service) pointers() func(yield func(netip.Addr, pointer) bool) {
	return func(yield func(netip.Addr, pointer) bool) {
		for _, a := range s.ips {
			if !yield(a.Unmap(), pointer{service: s, host: -1}) {
				return
			}
		}
		for i := range s.hosts {
			if !yield(s.hosts[i].Addr, pointer{service: s, host: int32(i)}) {
				return
			}
		}
	}
}
