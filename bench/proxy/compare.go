// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Addresses of the lab that compares.
const (
	outsideIP = "198.18.0.2"
	localPod  = "10.244.0.2"
	farPod    = "10.244.1.2"
	farPod2   = "10.244.1.3"
	tries     = 40 // enough to see every one of three endpoints
	silence   = 700 * time.Millisecond
	patient   = 4 * time.Second // a first packet that was lost is sent again after one and after three
)

// compare gives the same random objects to every proxy, and tells where packets of three clients fare differently.
func (o options) compare(services int, seed uint64) error {
	objects := random(seed, services)
	probes := objects.probes()
	var first map[probe]string
	undeliberate := 0
	for _, p := range o.peers {
		seen, err := o.observe(p, objects, probes, first)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if first == nil {
			first = seen
			fmt.Printf("%-20s %d services, seed %d: %d probes, %s\n", p.name, services, seed, len(probes), tally(seen))
			continue
		}
		wanted, others := map[string]int{}, 0
		for _, q := range probes {
			if seen[q] == first[q] {
				continue
			}
			if why := deliberate(p, q, first[q], seen[q]); why != "" {
				wanted[why]++
				continue
			}
			others++
			fmt.Printf("  %s\n    %s: %s\n    %s: %s\n", q, o.peers[0].name, first[q], p.name, seen[q])
		}
		for _, why := range slices.Sorted(maps.Keys(wanted)) {
			fmt.Printf("%-20s differs from %s in %d of %d probes: %s\n", p.name, o.peers[0].name, wanted[why], len(probes), why)
		}
		fmt.Printf("%-20s differs from %s in %d of %d probes otherwise\n", p.name, o.peers[0].name, others, len(probes))
		undeliberate += others
	}
	if undeliberate > 0 {
		return fmt.Errorf("%d probes fare differently for no reason that is known", undeliberate)
	}
	return nil
}

// deliberate says why ours does not do what kube-proxy does, where it is meant not to: docs/proxy.md has the reasons.
func deliberate(p peer, q probe, ours, theirs string) string {
	external := strings.HasPrefix(q.what, "external IP") || strings.HasPrefix(q.what, "load balancer")
	switch {
	case p.name != "kube-proxy iptables":
	case strings.HasPrefix(q.what, "unused port") && ours == "refused" && theirs == "silence":
		return "a port that no Service has, and its packets leave by the default route"
	case external && q.from == "node" && ours == "refused" && theirs == "silence":
		return "no endpoints at an external address, and the node's own packets leave by the default route"
	case external && !strings.Contains(q.what, "ranges []") && ours == "silence" && theirs == "refused":
		return "a client outside the source ranges learns that there are no endpoints"
	}
	return ""
}

func tally(seen map[probe]string) string {
	counts := map[string]int{}
	for _, answer := range seen {
		kind := "answered"
		if answer == "refused" || answer == "silence" {
			kind = answer
		}
		counts[kind]++
	}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprint(counts[kind], " ", kind))
	}
	return strings.Join(out, ", ")
}

// observe runs one proxy and asks every probe. Silence is waited for longer where nothing, or something else, was heard before: it may
// be a packet that was lost, or a machine that others keep busy.
func (o options) observe(p peer, objects *world, probes []probe, before map[probe]string) (map[probe]string, error) {
	l, err := newLab("compare")
	if err != nil {
		return nil, err
	}
	defer o.undo.later(l.remove)()
	stop, err := l.extend()
	if err != nil {
		return nil, err
	}
	defer stop()
	r, err := o.run(p, l, objects.api())
	if err != nil {
		return nil, err
	}
	defer o.undo.later(r.stop)()
	if _, _, err := r.synced(); err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second) // kube-proxy writes its families one after the other
	spaces := map[string]string{"pod": l.client, "node": l.node, "outside": l.other}
	seen := map[probe]string{}
	var mu sync.Mutex
	var running sync.WaitGroup
	slots := make(chan bool, 24)
	for _, q := range probes {
		slots <- true
		running.Go(func() {
			answer := ask(spaces[q.from], q.network, q.to, before[q] != "silence")
			mu.Lock()
			seen[q] = answer
			mu.Unlock()
			<-slots
		})
	}
	running.Wait()
	fmt.Printf("%-20s lost on the way: %s\n", p.name, l.losses())
	return seen, nil
}

// extend adds a machine outside the cluster and the addresses of the endpoints, which all answer from one namespace.
func (l *lab) extend() (stop func(), err error) {
	err = ip(fmt.Sprintf(`netns add %[1]s
		link add voutside netns %[2]s type veth peer name eth0 netns %[1]s
		-n %[2]s link set voutside up
		-n %[2]s addr add 198.18.0.1/24 dev voutside
		-n %[2]s route add default via %[3]s dev voutside
		-n %[1]s link set lo up
		-n %[1]s link set eth0 up
		-n %[1]s addr add %[3]s/24 dev eth0
		-n %[1]s route add default via 198.18.0.1 dev eth0
		-n %[4]s addr add %[5]s/32 dev eth0
		-n %[4]s addr add %[6]s/32 dev eth0
		-n %[2]s route add %[5]s/32 dev vserver
		-n %[2]s route add %[6]s/32 dev vserver
	`, l.other, l.node, outsideIP, l.server, farPod, farPod2))
	if err != nil {
		return nil, err
	}
	// The kernel sends few unreachables a second, and redirects count: else it would be chance who is told.
	err = inside(l.node, func() error {
		return errors.Join(set("conf/all/send_redirects", "0"), set("conf/voutside/send_redirects", "0"),
			set("icmp_ratelimit", "0"), set("icmp_msgs_per_sec", "100000"))
	})
	if err != nil {
		return nil, err
	}
	return l.answer()
}

// answer answers at every endpoint with its address and the one that it is asked from.
func (l *lab) answer() (stop func(), err error) {
	var open []io.Closer
	stop = func() {
		for _, c := range open {
			c.Close()
		}
	}
	err = inside(l.server, func() error {
		listener, err := net.Listen("tcp", ":8080")
		if err != nil {
			return err
		}
		open = append(open, listener)
		go answerStreams(listener)
		for _, addr := range []string{localPod, farPod, farPod2} {
			socket, err := net.ListenPacket("udp", addr+":8080")
			if err != nil {
				return err
			}
			open = append(open, socket)
			go answerDatagrams(socket)
		}
		return nil
	})
	if err != nil {
		stop()
	}
	return stop, err
}

func answerStreams(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			fmt.Fprintf(conn, "%s sees %s\n", host(conn.LocalAddr()), host(conn.RemoteAddr()))
			io.Copy(io.Discard, conn) // the client ends it: see converse
		}()
	}
}

func answerDatagrams(socket net.PacketConn) {
	buffer := make([]byte, 16)
	for {
		_, from, err := socket.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			socket.WriteTo(fmt.Appendf(nil, "%s sees %s", host(socket.LocalAddr()), host(from)), from)
		}
	}
}

func set(name, value string) error {
	return os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644)
}

func host(a net.Addr) string {
	h, _, _ := net.SplitHostPort(a.String())
	return h
}

// ask returns everybody who answers, with the address that they see, or what happened instead.
func ask(ns, network, to string, doubt bool) string {
	answers := map[string]bool{}
	for range tries {
		answer := once(ns, network, to, silence)
		if answer == "silence" && (doubt || len(answers) > 0) {
			answer = once(ns, network, to, patient)
		}
		answers[answer] = true
		if answer == "silence" || answer == "refused" {
			break
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(answers)), ", ")
}

func once(ns, network, to string, wait time.Duration) (answer string) {
	inside(ns, func() error {
		text, err := converse(network, to, wait)
		var timeout net.Error
		switch {
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EPERM): // EPERM: a datagram refused on its way out
			answer = "refused"
		case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, unix.EHOSTUNREACH): // as nobody has the address
			answer = "silence"
		case err != nil:
			answer = err.Error()
		default:
			answer = text
		}
		return nil
	})
	return answer
}

// converse resets its connection: a port that a peer still waits on is not taken again for a second, and there are more connections
// in a minute than ports.
func converse(network, to string, wait time.Duration) (string, error) {
	conn, err := net.DialTimeout(network, to, wait)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
		tcp.SetDeadline(time.Now().Add(5 * time.Second))
		text, _ := bufio.NewReader(tcp).ReadString('\n')
		return strings.TrimSpace(text), nil
	}
	conn.SetDeadline(time.Now().Add(wait))
	buffer := make([]byte, 128)
	if _, err := conn.Write([]byte("?")); err != nil {
		return "", err
	}
	n, err := conn.Read(buffer)
	return string(buffer[:n]), err
}
