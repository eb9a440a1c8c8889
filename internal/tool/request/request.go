// SPDX-License-Identifier: Apache-2.0

// Package request sends requests one after the other and counts who answered them: Config → HTTP, TCP or UDP → Report.
// The answering host names itself in a header (HTTP) or as the first word of its answer (TCP, UDP), as package serve does.
package request

import (
	"errors"
	"fmt"
	"time"
)

// Headers with which a server names itself and the client address that it saw.
const (
	HostnameHeader = "Eastwest-Hostname"
	ClientHeader   = "Eastwest-Client"
)

// MaxCount and MaxTimeout bound what one call may ask for.
const (
	MaxCount   = 10000
	MaxTimeout = time.Minute
)

// Config says what to send.
type Config struct {
	Target    string        // a URL, or host:port for TCP and UDP
	Count     int           // requests; zero means one
	Timeout   time.Duration // of one request, with its connection; zero means five seconds
	KeepAlive bool          // HTTP: reuse the connection
	Message   string        // TCP and UDP: one line
}

func (c Config) checked() (Config, error) {
	if c.Target == "" {
		return c, errors.New("nothing to send a request to: give a URL, or host:port")
	}
	if c.Count == 0 {
		c.Count = 1
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Count < 0 || c.Count > MaxCount {
		return c, fmt.Errorf("count %d is outside 1–%d", c.Count, MaxCount)
	}
	if c.Timeout < 0 || c.Timeout > MaxTimeout {
		return c, fmt.Errorf("timeout %s is outside 0–%s", c.Timeout, MaxTimeout)
	}
	return c, nil
}
