// SPDX-License-Identifier: Apache-2.0

package request

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxBody bounds how much of an answer is read; the rest is dropped with the connection.
const maxBody = 1 << 20

// HTTP sends GET requests. A status of 400 or more is a failure. The error is one of usage; failed requests are counted in
// the report.
func HTTP(ctx context.Context, c Config) (*Report, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(c.Target)
	if err != nil {
		return nil, fmt.Errorf("parse URL %q: %w", c.Target, err)
	}
	if target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		return nil, fmt.Errorf("URL %q is not of the form http://host[:port]/path", c.Target)
	}
	transport := &http.Transport{DisableKeepAlives: !c.KeepAlive}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: c.Timeout, CheckRedirect: noRedirect}
	report := newReport(c)
	for range c.Count {
		if ctx.Err() != nil {
			break
		}
		report.count(get(ctx, client, c.Target))
	}
	return report, nil
}

// noRedirect keeps the answer of the host that was asked.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func get(ctx context.Context, client *http.Client, target string) (host, seen string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)); err != nil {
		return "", "", fmt.Errorf("read the answer: %w", err)
	}
	host = cmp.Or(resp.Header.Get(HostnameHeader), resp.Header.Get("Server"), "a host that does not name itself")
	if resp.StatusCode >= http.StatusBadRequest {
		return "", "", fmt.Errorf("HTTP status %s from %s", resp.Status, host)
	}
	return host, resp.Header.Get(ClientHeader), nil
}
