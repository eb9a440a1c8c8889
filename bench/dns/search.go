// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	mdns "github.com/miekg/dns"
)

// clientAddress is where a pod of the first namespace asks from: an endpoint of the first service has this address.
const clientAddress = "127.0.0.9"

// families are what a client asks for: one, or both at once as getaddrinfo(3) does.
var families = map[bool][]uint16{false: {mdns.TypeA}, true: {mdns.TypeA, mdns.TypeAAAA}}

const searchPath = "outside name through the search path, cold"

// searchNames is how many names are looked for.
const searchNames = 300

// search looks outside names up as the C library of a pod does, with ndots:5, and returns the median time for one.
func search(both bool) func(*server) (time.Duration, error) {
	namespace, _, _ := serviceOf(0)
	path := []string{namespace + ".svc.cluster.local.", "svc.cluster.local.", "cluster.local.", ""}
	return func(s *server) (time.Duration, error) { return lookUp(s, path, families[both]) }
}

// bare asks the resolver behind all others itself: what no cold answer can take less than.
func bare(both bool) func(*server) (time.Duration, error) {
	return func(s *server) (time.Duration, error) { return lookUp(s, []string{""}, families[both]) }
}

// lookUp looks for names that nobody asked about before.
func lookUp(s *server, path []string, types []uint16) (time.Duration, error) {
	times := make([]time.Duration, 0, searchNames)
	run := rand.Uint32()
	for i := range searchNames {
		name := fmt.Sprintf("search-%d-%d.example.com.", run, i)
		began := time.Now()
		if err := lookFor(s, name, path, types); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// lookFor goes through a search path: from one socket, and at each step with all types at once.
func lookFor(s *server, name string, path []string, types []uint16) error {
	raw, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(clientAddress)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.port})
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	conn := &mdns.Conn{Conn: raw}
	for _, suffix := range path {
		for _, family := range types {
			if err := conn.WriteMsg(new(mdns.Msg).SetQuestion(name+suffix, family)); err != nil {
				return err
			}
		}
		found := false
		for range types {
			m, err := conn.ReadMsg()
			if err != nil {
				return fmt.Errorf("ask %s about %s: %w", s.name, name+suffix, err)
			}
			found = found || m.Rcode == mdns.RcodeSuccess && len(m.Answer) > 0
		}
		if found {
			return nil
		}
	}
	return errors.New(s.name + " does not find " + name)
}

// changes is how many changes are made.
const changes = 100

// change moves an endpoint and returns the median time until answers say so; what the API server takes to tell is in it.
func change(api *api, s *server) (time.Duration, error) {
	namespace, name, _ := serviceOf(0)
	times := make([]time.Duration, 0, changes)
	c := mdns.Client{Timeout: time.Second}
	for i := range changes {
		slice := sliceOf(0, 2)
		host, addr := "moving", fmt.Sprintf("10.250.%d.%d", i>>8, i&255)
		slice.Endpoints[1].Hostname, slice.Endpoints[1].Addresses = &host, []string{addr}
		began := time.Now()
		if err := api.change("endpointslices", slice); err != nil {
			return 0, err
		}
		q := new(mdns.Msg).SetQuestion(host+"."+name+"."+namespace+".svc.cluster.local.", mdns.TypeA)
		for got := ""; got != addr; {
			if time.Since(began) > 10*time.Second {
				return 0, fmt.Errorf("%s does not answer with %s", s.name, addr)
			}
			m, _, err := c.Exchange(q, fmt.Sprint("127.0.0.1:", s.port))
			if err != nil {
				return 0, err
			}
			if len(m.Answer) == 1 {
				got = m.Answer[0].(*mdns.A).A.String()
			}
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// printTimes prints what takes a client's time, for those that know the cluster. What the resolver behind them takes by
// itself is in what they take of an outside name.
func (o *options) printTimes(api *api, servers []*server) error {
	for _, what := range []struct {
		name    string
		measure func(*server) (time.Duration, error)
		alone   func(*server) (time.Duration, error) // the resolver; nil if it has no part in it
		times   int
	}{
		{searchPath + " (knot: the resolver itself)", search(false), bare(false), searchNames},
		{searchPath + ", both families at once", search(true), bare(true), searchNames},
		{"changed endpoint, until it is in answers", func(s *server) (time.Duration, error) { return change(api, s) }, nil, changes},
	} {
		if !o.wanted(what.name) {
			continue
		}
		fmt.Println(what.name + ", median of " + fmt.Sprint(o.runs) + " runs' medians")
		times, work := map[*server][]time.Duration{}, map[*server][]time.Duration{}
		for range o.runs {
			for _, s := range servers {
				measure := what.measure
				if s.name == "knot" {
					measure = what.alone // it serves a file
				}
				if measure == nil {
					continue
				}
				before := s.processorTime()
				took, err := measure(s)
				if err != nil {
					return err
				}
				times[s] = append(times[s], took)
				work[s] = append(work[s], (s.processorTime()-before)/time.Duration(what.times))
			}
		}
		ours := middle(times[servers[0]])
		for _, s := range servers {
			if took := middle(times[s]); took > 0 {
				fmt.Printf("  %-9s %7.3f ms (%.3f–%.3f), eastwest takes %.2f of it; processor time of the server %.3f ms, %.2f of it\n", s.name, ms(took), ms(times[s][0]),
					ms(times[s][len(times[s])-1]), float64(ours)/float64(took), ms(middle(work[s])), float64(middle(work[servers[0]]))/float64(middle(work[s])))
			}
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func middle(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[len(times)/2]
}
