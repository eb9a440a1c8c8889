// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keep runs a keeper until it ends by itself, or the test ends.
func keep(t *testing.T, patience time.Duration) (path string, start func(*os.File) error, ended <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return filepath.Join(t.TempDir(), "dns", "keeper.sock"), func(file *os.File) error {
		l, err := Listener(file)
		if err == nil {
			go func() { done <- Keep(ctx, l, patience) }()
		}
		return err
	}, done
}

func open(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// What reaches a socket while its server is away is read by the next one.
func TestDatagramsWaitForTheNextServer(t *testing.T) {
	path, start, ended := keep(t, time.Minute)
	socket, other := open(t), open(t)
	defer other.Close()
	first, err := Start(path, start)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Hold([]syscall.Conn{socket}); err != nil {
		t.Fatal(err)
	}
	at := socket.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = socket.Close()
	first.Close()
	if _, err := other.WriteToUDPAddrPort([]byte("question"), at); err != nil {
		t.Fatal(err)
	}
	second, kept := reach(t, path)
	if len(kept) != 1 {
		t.Fatalf("%d sockets are kept, want one", len(kept))
	}
	next, err := net.FilePacketConn(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	_ = kept[0].Close()
	if err := next.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var buf [64]byte
	n, from, err := next.ReadFrom(buf[:])
	if err != nil || string(buf[:n]) != "question" || from.String() != other.LocalAddr().String() {
		t.Errorf("got %q from %v, err %v", buf[:n], from, err)
	}
	second.End()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	second.Gone()
}

// reach tries until the keeper has what the one before had it keep.
func reach(t *testing.T, path string) (*Client, []*os.File) {
	t.Helper()
	for range 500 {
		c, kept, err := Reach(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) > 0 {
			return c, kept
		}
		c.Close()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nothing is kept")
	return nil, nil
}

// A keeper that no server comes back to ends, and with it the sockets: whoever asks then is told at once.
func TestKeeperEndsWithoutServer(t *testing.T) {
	path, start, ended := keep(t, 500*time.Millisecond)
	socket := open(t)
	c, err := Start(path, start)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Hold([]syscall.Conn{socket}); err != nil {
		t.Fatal(err)
	}
	_ = socket.Close()
	select {
	case err := <-ended:
		t.Fatalf("the keeper ended while its server was there: %v", err)
	case <-time.After(time.Second):
	}
	c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, _, err := Reach(path); err == nil {
		t.Error("there is a keeper")
	}
	again, err := net.ListenUDP("udp", socket.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatalf("the socket is still open: %v", err)
	}
	_ = again.Close()
}

// Nobody else may take what is kept.
func TestKeeperIsReachedByItsUserAlone(t *testing.T) {
	path, start, ended := keep(t, time.Minute)
	c, err := Start(path, start)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.End()
		<-ended
	}()
	info, err := os.Stat(filepath.Dir(path))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder: %v, err %v", info.Mode(), err)
	}
}
