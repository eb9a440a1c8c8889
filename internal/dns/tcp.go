// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Times that a connection gets (RFC 7766).
const (
	idleTimeout  = 10 * time.Second
	writeTimeout = 5 * time.Second
)

// serveTCP accepts connections until the listener is closed.
func (s *Server) serveTCP(ctx context.Context, l net.Listener) error {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			var transient interface{ Temporary() bool }
			if errors.As(err, &transient) && transient.Temporary() && ctx.Err() == nil {
				time.Sleep(5 * time.Millisecond) // out of descriptors: others have to close some first
				continue
			}
			return fmt.Errorf("accept: %w", err)
		}
		client := addrOf(conn)
		if !s.conns.take(client) {
			_ = conn.Close()
			continue
		}
		open.Go(func() {
			defer s.conns.release(client)
			s.serveConn(ctx, conn, client)
		})
	}
}

func addrOf(conn net.Conn) netip.Addr {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// stream is one connection: queries come one after the other, replies go out in whatever order they are ready.
type stream struct {
	conn net.Conn
	mu   sync.Mutex
	out  *bufio.Writer
}

func (s *Server) serveConn(ctx context.Context, conn net.Conn, client netip.Addr) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	var pending sync.WaitGroup
	defer func() {
		pending.Wait() // a client may close its half and still read
		stop()
		_ = conn.Close()
	}()
	st := &stream{conn: conn, out: bufio.NewWriterSize(conn, 4096)}
	in := bufio.NewReaderSize(conn, 4096)
	c := &session{turn: rand.Uint32(), count: s.counters[0]}
	var query, buf []byte
	for {
		if in.Buffered() == 0 && (st.flush() != nil || conn.SetReadDeadline(time.Now().Add(idleTimeout)) != nil || ctx.Err() != nil) {
			return
		}
		var err error
		if query, err = readMessage(in, query); err != nil {
			_ = st.flush()
			return
		}
		now := time.Now()
		message, v := s.fast(c, query, buf, client, false, now)
		switch v {
		case drop:
			return
		case reply:
			if st.write(message) != nil {
				return
			}
			buf = message
			c.count.took(time.Since(now), 1)
		case later:
			pending.Add(1)
			s.later(query, client, false, func(message []byte) {
				defer pending.Done()
				if st.write(message) == nil {
					_ = st.flush()
				}
			})
		}
	}
}

// readMessage reads a length and as many bytes, into buf if it is long enough.
func readMessage(in *bufio.Reader, buf []byte) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > cap(buf) {
		buf = make([]byte, max(n, 512))
	}
	buf = buf[:n]
	_, err := io.ReadFull(in, buf)
	return buf, err
}

func (st *stream) write(message []byte) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	head := [2]byte{byte(len(message) >> 8), byte(len(message))}
	if _, err := st.out.Write(head[:]); err != nil {
		return err
	}
	_, err := st.out.Write(message)
	return err
}

func (st *stream) flush() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.out.Flush()
}
