// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// Bounds of one question to one server.
const (
	askTimeout = 2 * time.Second
	udpSize    = 1232 // what passes everywhere without fragments
)

// outgoing copies what of a query is passed on: the question and the bits that change its answer.
func outgoing(m *mdns.Msg) *mdns.Msg {
	q := new(mdns.Msg)
	q.Id = uint16(rand.Uint32())
	q.RecursionDesired = true
	q.CheckingDisabled = m.CheckingDisabled
	q.AuthenticatedData = true // we want to know (RFC 6840, 5.7)
	q.Question = []mdns.Question{m.Question[0]}
	opt := m.IsEdns0()
	q.SetEdns0(udpSize, opt != nil && opt.Do())
	return q
}

// askTCP asks over a connection of its own.
func (u *upstream) askTCP(ctx context.Context, q *mdns.Msg) (*mdns.Msg, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.server.Addr.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return converse(ctx, conn, q)
}

// converse sends a question over a connection and waits for the response.
func converse(ctx context.Context, raw net.Conn, q *mdns.Msg) (*mdns.Msg, error) {
	end, _ := ctx.Deadline()
	if err := raw.SetDeadline(end); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &mdns.Conn{Conn: raw}
	if err := conn.WriteMsg(q); err != nil {
		return nil, ended(ctx, err)
	}
	response, err := conn.ReadMsg()
	switch {
	case err != nil:
		return nil, ended(ctx, err)
	case !answers(q, response):
		return nil, errors.New("the response is about another question")
	}
	return response, nil
}

// ended says why a connection failed: because the question's time was over, which a connection notices before its context
// may do, or because of itself.
func ended(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return context.DeadlineExceeded
	}
	return err
}

// answers reports whether a message is the response to q.
func answers(q, r *mdns.Msg) bool {
	if !r.Response || r.Id != q.Id || r.Opcode != mdns.OpcodeQuery || len(r.Question) != 1 {
		return false
	}
	a, b := q.Question[0], r.Question[0]
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}
