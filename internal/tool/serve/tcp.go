// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	maxLine     = 64 << 10 // bytes of one line
	maxStreams  = 4096     // connections of one port at once
	streamsIdle = 10 * time.Minute
)

func (s *Server) serveTCP(ctx context.Context, l net.Listener) error {
	places := make(chan struct{}, maxStreams)
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		open.Go(func() {
			defer func() { <-places }()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			s.answerLines(conn)
		})
	}
}

// answerLines ends with the connection: the client closed it, was silent for too long, or sent a line beyond the bound.
func (s *Server) answerLines(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	for {
		if conn.SetDeadline(time.Now().Add(streamsIdle)) != nil || !lines.Scan() {
			return
		}
		if _, err := fmt.Fprintf(conn, "%s %s %s\n", s.config.Hostname, conn.RemoteAddr(), lines.Bytes()); err != nil {
			return
		}
	}
}
