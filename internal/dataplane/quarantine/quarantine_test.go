// SPDX-License-Identifier: Apache-2.0

package quarantine

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/table"
)

// kernel is a backend that refuses rows and fails as it is told.
type kernel struct {
	dataplane.Dataplane[table.Service]
	refuses map[string]bool
	fail    int // so many calls more
	rows    map[string]bool
	tries   int
}

func (k *kernel) take(rows []table.Service) error {
	if k.fail > 0 {
		k.fail--
		return errors.New("not now")
	}
	for _, row := range rows {
		if k.refuses[row.Key()] {
			return errors.New("no")
		}
	}
	return nil
}

func (k *kernel) Apply(_ context.Context, want table.Table[table.Service], _ table.Keys) error {
	var rows []table.Service
	for _, row := range want.All() {
		rows = append(rows, row)
	}
	if err := k.take(rows); err != nil {
		return err
	}
	k.rows = map[string]bool{}
	for _, row := range rows {
		k.rows[row.Key()] = true
	}
	return nil
}

func (k *kernel) Probe(context.Context) (func(context.Context, []table.Service) error, error) {
	return func(_ context.Context, rows []table.Service) error { k.tries++; return k.take(rows) }, nil
}

func services(n int) table.Table[table.Service] {
	rows := map[string]table.Service{}
	for i := range n {
		name := fmt.Sprint("s", i)
		rows["default/"+name] = table.Service{Object: table.Object{Namespace: "default", Name: name}}
	}
	return table.Table[table.Service]{}.With(rows)
}

func newBackend(t *testing.T, k *kernel) (b *Backend, reported map[string]int) {
	reported = map[string]int{}
	return Around(k, Config{Prober: k, Report: func(row table.Service, reason error) {
		if reason == nil {
			t.Errorf("%s is reported without a reason", row.Key())
		}
		reported[row.Key()]++
	}}), reported
}

var everything = table.Keys{All: true}

// One refused row among many is found in few tries, at start and when it comes later, and stays out until it is taken.
func TestOneOfMany(t *testing.T) {
	k := &kernel{refuses: map[string]bool{"default/s777": true}}
	b, reported := newBackend(t, k)
	want := services(1000)
	if b.Apply(t.Context(), want, everything) == nil {
		t.Error("the first failure was not returned")
	}
	if err := b.Apply(t.Context(), want, everything); err != nil {
		t.Fatal(err)
	}
	if len(k.rows) != 999 || reported["default/s777"] != 1 || len(b.Out()) != 1 {
		t.Errorf("%d rows, reported %v, %v out", len(k.rows), reported, b.Out())
	}
	if k.tries > 40 {
		t.Errorf("found in %d tries", k.tries)
	}
	if err := b.Apply(t.Context(), want, table.Keys{Names: []string{"default/s1"}}); err != nil || len(k.rows) != 999 {
		t.Errorf("a change of another row: %v, %d rows", err, len(k.rows))
	}
	k.refuses = nil
	if err := b.Apply(t.Context(), want, everything); err != nil || len(k.rows) != 1000 || len(b.Out()) != 0 {
		t.Errorf("when it is no longer refused: %v, %d rows, %v out", err, len(k.rows), b.Out())
	}
}

// A row that changed is tried first, before all others.
func TestTheChangedRowIsTriedFirst(t *testing.T) {
	k := &kernel{}
	b, _ := newBackend(t, k)
	if err := b.Apply(t.Context(), services(1000), everything); err != nil {
		t.Fatal(err)
	}
	k.refuses = map[string]bool{"default/s5": true}
	if b.Apply(t.Context(), services(1000), table.Keys{Names: []string{"default/s5"}}) == nil {
		t.Error("the first failure was not returned")
	}
	if err := b.Apply(t.Context(), services(1000), everything); err != nil || len(b.Out()) != 1 || k.tries != 1 {
		t.Errorf("%v, %v out, %d tries", err, b.Out(), k.tries)
	}
}

// A failure that passes, and a kernel that takes nothing at all, keep no row out.
func TestOtherTroubles(t *testing.T) {
	for _, failures := range []int{1, 2, 1 << 20} {
		k := &kernel{fail: failures}
		b, reported := newBackend(t, k)
		var err error
		for range 4 {
			err = b.Apply(t.Context(), services(300), everything)
		}
		if failures < 4 && (err != nil || len(k.rows) != 300) {
			t.Errorf("%d failures: %v, %d rows", failures, err, len(k.rows))
		}
		if failures > 4 && (err == nil || k.tries > 100) {
			t.Errorf("a kernel that takes nothing: %v after %d tries", err, k.tries)
		}
		if len(reported) > 0 || len(b.Out()) > 0 {
			t.Errorf("%d failures: reported %v, %v out", failures, reported, b.Out())
		}
	}
}
