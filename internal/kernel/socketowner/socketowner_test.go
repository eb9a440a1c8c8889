// SPDX-License-Identifier: Apache-2.0

package socketowner

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
)

// The process of a socket that was handed to a child is found, by each address that the socket has.
func TestOwner(t *testing.T) {
	for _, tt := range []struct{ network, listen, at string }{
		{"tcp", "127.0.0.1:0", "127.0.0.1"}, {"tcp", "0.0.0.0:0", "127.0.0.1"}, {"tcp", "[::]:0", "10.1.2.3"}, {"tcp", "[::1]:0", "::1"},
		{"udp", "127.0.0.1:0", "127.0.0.1"}, {"udp", "[::1]:0", "::"},
	} {
		var file *os.File
		var port uint16
		if tt.network == "tcp" {
			l, err := net.Listen("tcp", tt.listen)
			if err != nil {
				t.Skip(err)
			}
			port = uint16(l.Addr().(*net.TCPAddr).Port)
			if file, err = l.(*net.TCPListener).File(); err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
		} else {
			p, err := net.ListenPacket("udp", tt.listen)
			if err != nil {
				t.Skip(err)
			}
			port = uint16(p.LocalAddr().(*net.UDPAddr).Port)
			if file, err = p.(*net.UDPConn).File(); err != nil {
				t.Fatal(err)
			}
			_ = p.Close()
		}
		child := exec.Command("sleep", "60")
		child.ExtraFiles = []*os.File{file}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		at := netip.AddrPortFrom(netip.MustParseAddr(tt.at), port)
		if got := Of(tt.network, at); len(got) != 1 || got[0].PID != child.Process.Pid || got[0].Program != "sleep" {
			t.Errorf("%s %s: got %v, want pid %d", tt.network, tt.listen, got, child.Process.Pid)
		}
		_ = child.Process.Kill()
		_ = child.Wait()
		if Held(tt.network, at) {
			t.Errorf("%s %s: still held", tt.network, tt.listen)
		}
	}
}
