// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// start serves every open port in goroutines of its own and returns what ends the HTTP ones.
func (s *Server) start(ctx context.Context, running *sync.WaitGroup, failed chan<- error) func(context.Context) error {
	run := func(what string, serve func() error) {
		running.Go(func() {
			if err := ignoreClosed(serve()); err != nil {
				failed <- fmt.Errorf("serve %s: %w", what, err)
			}
		})
	}
	web := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	for _, l := range s.http {
		run("HTTP", func() error {
			if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	for _, l := range s.tcp {
		run("TCP", func() error { return s.serveTCP(ctx, l) })
	}
	for _, conn := range s.udp {
		run("UDP", func() error { return s.serveUDP(conn) })
	}
	return func(ctx context.Context) error {
		if err := web.Shutdown(ctx); err != nil {
			return errors.Join(web.Close(), fmt.Errorf("end HTTP requests under way: %w", err))
		}
		return nil
	}
}
