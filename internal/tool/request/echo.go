// SPDX-License-Identifier: Apache-2.0

package request

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// maxLine bounds a message and an answer.
const maxLine = 64 << 10

// TCP sends the message as a line on a new connection each time and reads one line back.
func TCP(ctx context.Context, c Config) (*Report, error) { return echo(ctx, "tcp", c) }

// UDP sends the message as a datagram from a new port each time and reads one datagram back.
func UDP(ctx context.Context, c Config) (*Report, error) { return echo(ctx, "udp", c) }

func echo(ctx context.Context, network string, c Config) (*Report, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	if _, _, err := net.SplitHostPort(c.Target); err != nil {
		return nil, fmt.Errorf("target %q is not of the form host:port: %w", c.Target, err)
	}
	if len(c.Message) > maxLine || strings.ContainsAny(c.Message, "\r\n") {
		return nil, errors.New("the message must be one line of at most 64 KiB")
	}
	report := newReport(c)
	for range c.Count {
		if ctx.Err() != nil {
			break
		}
		report.count(exchange(ctx, network, c))
	}
	return report, nil
}

func exchange(ctx context.Context, network string, c Config) (host, client string, err error) {
	deadline := time.Now().Add(c.Timeout)
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.DialContext(ctx, network, c.Target)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", "", err
	}
	if _, err := io.WriteString(conn, c.Message+"\n"); err != nil {
		return "", "", err
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 2*maxLine)).ReadString('\n')
	if err != nil && line == "" {
		if errors.Is(err, io.EOF) {
			err = errors.New("connection closed without an answer")
		}
		return "", "", err
	}
	host, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	client, _, _ = strings.Cut(rest, " ")
	return host, client, nil
}
