// SPDX-License-Identifier: Apache-2.0

package transactions

import (
	"os/exec"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Writers remembers with what this program changes nftables: sockets of its own, and programs that it runs. The zero value
// remembers none; it is safe for concurrent use.
type Writers struct {
	mu       sync.RWMutex
	sockets  map[uint32]bool
	ring     []uint32 // of sockets
	next     int
	programs []window
}

// window is what a program may have written: its socket is named after its process, whose number somebody else gets later.
type window struct {
	port     uint32
	from, to uint32 // transactions after from, and up to to once it has ended
	ended    bool
}

const (
	socketsKnown  = 4096
	programsKnown = 64
)

// Add remembers a socket; one that cannot be asked counts as another program's.
func (w *Writers) Add(conn *netlink.Conn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if address, err := unix.Getsockname(int(fd)); err == nil {
			if own, ok := address.(*unix.SockaddrNetlink); ok {
				w.add(own.Pid)
			}
		}
	})
}

func (w *Writers) add(port uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sockets == nil {
		w.sockets = map[uint32]bool{}
	}
	if w.sockets[port] {
		return
	}
	if len(w.ring) < socketsKnown {
		w.ring = append(w.ring, port)
	} else {
		delete(w.sockets, w.ring[w.next])
		w.ring[w.next] = port
		w.next = (w.next + 1) % socketsKnown
	}
	w.sockets[port] = true
}

// Run runs a program in the thread's network namespace, and remembers which transactions may be its. Where the kernel does not
// number transactions, they count as another program's.
func (w *Writers) Run(cmd *exec.Cmd) error {
	from, err := Generation()
	if err != nil {
		return cmd.Run()
	}
	w.mu.Lock() // whoever asks about a transaction of the program waits until it is known
	if err = cmd.Start(); err == nil {
		w.forget()
		w.programs = append(w.programs, window{port: uint32(cmd.Process.Pid), from: from})
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	failed := cmd.Wait()
	to, err := Generation()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.programs {
		if p := &w.programs[i]; !p.ended && p.port == uint32(cmd.Process.Pid) {
			p.ended, p.to = true, to
			if err != nil {
				p.to = from
			}
		}
	}
	return failed
}

// forget drops the program that ended first when there are many.
func (w *Writers) forget() {
	for i := range w.programs {
		if w.programs[i].ended && len(w.programs) >= programsKnown {
			w.programs = append(w.programs[:i], w.programs[i+1:]...)
			return
		}
	}
}

// Wrote reports whether a socket was this program's when it made a transaction.
func (w *Writers) Wrote(port, generation uint32) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.sockets[port] {
		return true
	}
	for _, p := range w.programs {
		if p.port == port && after(generation, p.from) && (!p.ended || !after(generation, p.to)) {
			return true
		}
	}
	return false
}
