// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bulkPort  = 18081
	bulkWrite = 128 << 10
)

// Bulk returns how many bytes a second arrive over one connection to a port of the namespace at, whose address is to.
func Bulk(from, at Namespace, to netip.Addr, length time.Duration) (rate float64, err error) {
	var arrived atomic.Int64
	stop, err := Serve(at, bulkPort, func(conn net.Conn) {
		buffer := make([]byte, 1<<20)
		for {
			n, err := conn.Read(buffer)
			arrived.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	if err != nil {
		return 0, err
	}
	defer stop()
	err = from.Do(func() error {
		fd, err := connect(netip.AddrPortFrom(to, bulkPort))
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		buffer, begin, before := make([]byte, bulkWrite), time.Now(), int64(0)
		for warm := false; time.Since(begin) < length; {
			if _, err := unix.Write(fd, buffer); err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			if !warm && time.Since(begin) > length/4 { // windows have opened
				warm, begin, before = true, time.Now(), arrived.Load()
			}
		}
		rate = float64(arrived.Load()-before) / time.Since(begin).Seconds()
		return nil
	})
	return rate, err
}
