// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// Bounds of one question to one server.
const (
	askTimeout = 2 * time.Second
	udpSize    = 1232 // what passes everywhere without fragments
)

// ask sends a question over TLS, or else over UDP, and over TCP if the response was cut short.
func (u *upstream) ask(ctx context.Context, m *mdns.Msg, late *patience) (response *mdns.Msg, err error) {
	ctx = WithDue(ctx, askTimeout)
	q := outgoing(m)
	if u.secure != nil {
		defer late.watch()()
		response, err = u.secure.ask(ctx, q)
	} else {
		response, err = u.askUDP(ctx, q, late)
		if err == nil && response.Truncated {
			defer late.watch()()
			response, err = u.askTCP(ctx, q)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s about %s: %w", u.server, q.Question[0].Name, err)
	}
	scrub(q, response)
	return response, nil
}

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

// askUDP asks from a port that no other question has.
func (u *upstream) askUDP(ctx context.Context, q *mdns.Msg, late *patience) (*mdns.Msg, error) {
	conn, err := u.sockets.take()
	if err != nil {
		return nil, err
	}
	defer u.sockets.done(conn)
	return converse(ctx, conn, "udp", q, late)
}

// askTCP asks over a connection of its own.
func (u *upstream) askTCP(ctx context.Context, q *mdns.Msg) (*mdns.Msg, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.server.Addr.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return converse(ctx, conn, "tcp", q, nil)
}

// converse waits for the response that fits the question. Over UDP whatever else arrives is ignored: anybody can send it.
// late, which may be nil, is told when the response is.
func converse(ctx context.Context, raw net.Conn, network string, q *mdns.Msg, late *patience) (*mdns.Msg, error) {
	end, _ := ctx.Deadline()
	if err := raw.SetDeadline(late.deadline(end)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &mdns.Conn{Conn: raw}
	if err := conn.WriteMsg(q); err != nil {
		return nil, ended(ctx, err)
	}
	for {
		response, err := receive(conn, network)
		var netErr net.Error
		switch {
		case err == nil && answers(q, response):
			return response, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case late != nil && errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(end):
			if err := raw.SetDeadline(end); err != nil {
				return nil, err
			}
			late.lose() // may end this question at once, by another deadline
		case network == "tcp" && err == nil:
			return nil, errors.New("the response is about another question")
		case network == "tcp" || errors.As(err, &netErr):
			return nil, ended(ctx, err)
		}
	}
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

// maxDatagram is how long a response over UDP may be: far longer than we ask for.
const maxDatagram = 8192

var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// receive reads one message. One that is cut short cannot be read, and is an error.
func receive(conn *mdns.Conn, network string) (*mdns.Msg, error) {
	if network == "tcp" {
		return conn.ReadMsg()
	}
	buf := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buf)
	n, err := conn.Conn.Read(buf[:])
	if err != nil {
		return nil, err
	}
	m := new(mdns.Msg)
	return m, m.Unpack(buf[:n])
}

// answers reports whether a message is the response to q.
func answers(q, r *mdns.Msg) bool {
	if !r.Response || r.Id != q.Id || r.Opcode != mdns.OpcodeQuery || len(r.Question) != 1 {
		return false
	}
	a, b := q.Question[0], r.Question[0]
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}
