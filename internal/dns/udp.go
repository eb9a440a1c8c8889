// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// serveUDP reads batches of datagrams, answers each where it lies, and sends the replies as one batch. What has to wait
// for others is sent by itself, later.
func (s *Server) serveUDP(ctx context.Context, conn *net.UDPConn, count *counters) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("get socket: %w", err)
	}
	b, c := newBatch(raw), &session{turn: rand.Uint32(), count: count}
	for ctx.Err() == nil {
		if err := b.read(); err != nil {
			if ctx.Err() != nil {
				break
			}
			return fmt.Errorf("receive: %w", err)
		}
		if err := s.answerBatch(ctx, b, c); err != nil {
			return err
		}
	}
	for range 2 {
		for b.rest() {
			if err := s.answerBatch(ctx, b, c); err != nil {
				return err
			}
		}
		time.Sleep(settleTime)
	}
	return nil
}

func (s *Server) answerBatch(ctx context.Context, b *batch, c *session) error {
	now := time.Now()
	if s.cfg.Zone != nil {
		s.cfg.Zone.warm(&b.warmth, b.get, b.received)
	}
	heavy, share := c.fair.look(b.received, func(i int) netip.Addr { return b.client(i).Addr() })
	for i := range b.received {
		if heavy.IsValid() && b.client(i).Addr() == heavy {
			if share--; share < 0 {
				c.count.dropped.Add(1)
				continue
			}
		}
		s.answerUDP(ctx, b, c, i, now)
	}
	replies := b.replied
	if err := b.flush(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	c.count.took(time.Since(now), replies)
	return nil
}

func (s *Server) answerUDP(ctx context.Context, b *batch, c *session, i int, now time.Time) {
	packet, client := b.packet(i), b.client(i)
	if client.Port() == 0 {
		return // nobody can be answered there
	}
	message, v := s.fast(c, packet, b.replyBuffer(i), client.Addr(), true, now)
	switch v {
	case reply:
		b.reply(i, message)
	case later:
		back := b.back(i)
		s.later(packet, client.Addr(), true, func(message []byte) {
			if err := back.send(message); err != nil && ctx.Err() == nil {
				s.cfg.Log.Debug("dns reply not sent", "client", client, "err", err)
			}
		})
	}
}
