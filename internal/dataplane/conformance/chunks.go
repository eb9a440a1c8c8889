// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
)

// The kernel may lack SCTP as a socket, but it tracks and translates it. So the first chunk of an association, and its
// answer, which has the pod's name and the client's address in a parameter, are made here.
const (
	chunkInit    = 1
	chunkInitAck = 2
	headerLen    = 12
	initLen      = 20
	parameter    = 0xc0de // whoever does not know it skips it
)

// association makes an INIT or INIT ACK with a note.
func association(kind byte, sport, dport uint16, tag uint32, note string) []byte {
	length := initLen
	if note != "" {
		length += 4 + len(note)
	}
	out := make([]byte, headerLen+(length+3)&^3)
	binary.BigEndian.PutUint16(out, sport)
	binary.BigEndian.PutUint16(out[2:], dport)
	binary.BigEndian.PutUint32(out[4:], tag)
	out[headerLen] = kind
	chunk := out[headerLen:]
	binary.BigEndian.PutUint16(chunk[2:], uint16(length))
	binary.BigEndian.PutUint32(chunk[4:], ownTag)
	binary.BigEndian.PutUint32(chunk[8:], 1<<16)
	binary.BigEndian.PutUint16(chunk[12:], 1)
	binary.BigEndian.PutUint16(chunk[14:], 1)
	if note != "" {
		binary.BigEndian.PutUint16(chunk[initLen:], parameter)
		binary.BigEndian.PutUint16(chunk[initLen+2:], uint16(4+len(note)))
		copy(chunk[initLen+4:], note)
	}
	binary.LittleEndian.PutUint32(out[8:], crc32.Checksum(out, crc32.MakeTable(crc32.Castagnoli)))
	return out
}

const ownTag = 7

// noteOf reads a packet of the kind that association makes.
func noteOf(data []byte) (kind byte, sport, dport uint16, note string, ok bool) {
	if len(data) < headerLen+initLen {
		return 0, 0, 0, "", false
	}
	chunk := data[headerLen:]
	if length := int(binary.BigEndian.Uint16(chunk[2:])); length > initLen+4 && length <= len(chunk) {
		note = string(chunk[initLen+4 : length])
	}
	return chunk[0], binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]), note, true
}

// rawSCTP opens a raw socket in a host, which waits so long for a packet.
func rawSCTP(h host, ipv6 bool, wait time.Duration) (fd int, err error) {
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	err = netns.Do(h.netns, func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return err
	})
	if err != nil {
		return -1, err
	}
	limit := unix.NsecToTimeval(wait.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// serveAssociations answers on port 80 of every address of a pod.
func serveAssociations(t *testing.T, h host) {
	t.Helper()
	for _, ipv6 := range []bool{false, true} {
		fd, err := rawSCTP(h, ipv6, silence)
		if err != nil {
			t.Fatal(err)
		}
		var stopped atomic.Bool
		done := make(chan bool)
		t.Cleanup(func() {
			stopped.Store(true)
			<-done
			unix.Close(fd)
		})
		go func() {
			defer close(done)
			buffer := make([]byte, 2048)
			for !stopped.Load() {
				n, from, err := unix.Recvfrom(fd, buffer, 0)
				if err != nil {
					continue
				}
				kind, sport, dport, _, ok := noteOf(payload(buffer[:n], ipv6))
				if ok && kind == chunkInit && dport == 80 {
					_ = unix.Sendto(fd, association(chunkInitAck, dport, sport, ownTag, fmt.Sprint(h.name, " ", senderOf(from))), 0, from)
				}
			}
		}()
	}
}

// payload cuts off the header of IPv4, which raw sockets have in front.
func payload(data []byte, ipv6 bool) []byte {
	if ipv6 || len(data) == 0 {
		return data
	}
	return data[min(int(data[0]&15)*4, len(data)):]
}

func senderOf(from unix.Sockaddr) netip.Addr {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}

var lastPort atomic.Uint32

// associate sends the first chunk of an association from a port of its own and returns what comes back.
func (m *matrix) associate(from host, to netip.AddrPort, wait time.Duration) string {
	alone, _ := m.raw.LoadOrStore(from.name+" "+to.Addr().String(), &sync.Mutex{})
	alone.(*sync.Mutex).Lock()
	defer alone.(*sync.Mutex).Unlock()
	ipv6 := to.Addr().Is6()
	fd, err := rawSCTP(from, ipv6, wait)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	var at unix.Sockaddr = &unix.SockaddrInet6{Addr: to.Addr().As16()}
	if !ipv6 {
		at = &unix.SockaddrInet4{Addr: to.Addr().As4()}
	}
	if err := unix.Connect(fd, at); err != nil {
		return outcome(err)
	}
	port := uint16(10000 + lastPort.Add(1)%20000)
	if _, err := unix.Write(fd, association(chunkInit, port, to.Port(), 0, "")); err != nil {
		return outcome(err)
	}
	buffer := make([]byte, 2048)
	for end := time.Now().Add(wait); time.Now().Before(end); {
		n, err := unix.Read(fd, buffer)
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			return outcome(err)
		}
		if kind, _, dport, note, ok := noteOf(payload(buffer[:n], ipv6)); ok && kind == chunkInitAck && dport == port {
			return note
		}
	}
	return "silence"
}
