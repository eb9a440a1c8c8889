// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"pgregory.net/rapid"

	"eastwest/internal/table"
)

// The index holds what a map would hold, whatever is set and taken away in whatever edits; none shows before it is committed.
func TestServiceIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, want := newServiceIndex(), map[string]*service{}
		for range rapid.IntRange(1, 20).Draw(t, "edits") {
			edit, next := x.edit(), maps.Clone(want)
			for range rapid.IntRange(0, 60).Draw(t, "changes") {
				key := fmt.Sprint(rapid.IntRange(0, 200).Draw(t, "key"))
				if rapid.Bool().Draw(t, "set") {
					next[key] = &service{key: key}
					edit.set(key, next[key])
				} else {
					delete(next, key)
					edit.delete(key)
				}
				if s, ok := edit.get(key); s != next[key] || ok != (s != nil) {
					t.Fatalf("within the edit, %s has %p, want %p", key, s, next[key])
				}
			}
			compareIndex(t, x, want)
			edit.commit()
			want = next
			compareIndex(t, x, want)
		}
	})
}

func compareIndex(t *rapid.T, x *serviceIndex, want map[string]*service) {
	for i := range 201 {
		key := fmt.Sprint(i)
		if s, ok := x.get(key); s != want[key] || ok != (s != nil) {
			t.Fatalf("%s has %p, want %p", key, s, want[key])
		}
	}
	got := map[string]*service{}
	x.all(func(key string, s *service) { got[key] = s })
	if !maps.Equal(got, want) {
		t.Fatalf("all are %d, want %d", len(got), len(want))
	}
}

// A service that is there all the time is found all the time, while others come and go.
func TestServiceIndexIsReadWhileItChanges(t *testing.T) {
	x := newServiceIndex()
	stays := x.edit()
	stays.set("stays", &service{key: "stays"})
	stays.commit()
	var reading sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if s, ok := x.get("stays"); !ok || s.key != "stays" {
					t.Error("lost")
					return
				}
			}
		})
	}
	for i := range 3000 {
		edit := x.edit()
		key := fmt.Sprint(i)
		edit.set(key, &service{key: key})
		edit.set("stays", &service{key: "stays"})
		edit.delete(fmt.Sprint(i - 50))
		edit.commit()
	}
	close(done)
	reading.Wait()
}

// What a query needs is known before the query is read.
func TestServiceKey(t *testing.T) {
	z := testZone(t)
	for name, want := range map[string]string{
		"web.default.svc.cluster.local.": "\x03web\x07default", "a.web.default.svc.cluster.local.": "", "default.svc.cluster.local.": "",
		"web.default.svc.cluster.example.": "", "cluster.local.": "", ".": "",
	} {
		packet, err := new(mdns.Msg).SetQuestion(name, mdns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(z.serviceKey(packet)); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// BenchmarkNames answers about services in random order: what a query costs besides the kernel's part.
func BenchmarkNames(b *testing.B) {
	for _, services := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(services), func(b *testing.B) {
			rows := make([]table.Name, services)
			for i := range rows {
				rows[i] = table.Name{Object: objectOf(fmt.Sprint("ns-", i/100), fmt.Sprint("service-", i)), TTL: 30,
					ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96 + byte(i>>16), byte(i >> 8), byte(i)})}, Ports: []table.NamePort{{Name: "http", Protocol: "tcp", Port: 80}}}
			}
			s, err := NewServer(ServerConfig{Zone: testZone(b, rows...), Listen: []string{"127.0.0.1:0"}, Workers: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			packets := make([][]byte, 1<<17)
			for i := range packets {
				n := rand.IntN(services)
				packets[i], err = new(mdns.Msg).SetQuestion(fmt.Sprintf("service-%d.ns-%d.svc.cluster.local.", n, n/100), mdns.TypeA).Pack()
				if err != nil {
					b.Fatal(err)
				}
			}
			c, buf, client, now := &session{count: new(counters)}, make([]byte, maxUDP), netip.MustParseAddr("127.0.0.1"), time.Now()
			i, w := 0, new(warmth)
			for b.Loop() {
				if at := i & (len(packets) - 1); at%batchSize == 0 {
					s.cfg.Zone.warm(w, func(k int) []byte { return packets[at+k] }, batchSize)
				}
				s.fast(c, packets[i&(len(packets)-1)], buf, client, true, now)
				i++
			}
		})
	}
}
