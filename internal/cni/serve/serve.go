// SPDX-License-Identifier: Apache-2.0

// Package serve answers calls of the plugins in a process that is there already: a plugin that is started only hands its
// arguments, environment, stdin and stdout over (package entry) and ends with the exit code that it is told.
//
//	accept ─▶ request ─▶ is it ours to do, and not withdrawn? ─▶ plugin ─▶ exit code
//
// What it cannot do just as the plugin would, it leaves to it: a caller in another network or mount namespace, or one who
// is not root. A plugin whose request is not read in time does its call itself, so nothing depends on this process.
package serve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"eastwest/internal/cni/entry"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/socketfile"
)

const (
	atOnce = 16              // calls; more wait, or do their work themselves
	grace  = 2 * time.Second // for calls that run when the server ends
)

// Config says who does the work.
type Config struct {
	// Main answers a call with the named plugin and returns the exit code.
	Main func(ctx context.Context, name string, call *plugin.Call) int
	Log  *slog.Logger
}

type server struct {
	Config
	own   namespaces
	slots chan struct{}
	calls sync.WaitGroup
	locks keyed
}

// Run answers calls at entry.Socket until ctx ends; calls that run then are finished, if it does not take long. The process
// must stay in its network and mount namespaces.
func Run(ctx context.Context, c Config) error {
	own, err := namespacesOf("/proc/self")
	if err != nil {
		return err
	}
	listener, err := socketfile.Listen("unixpacket", entry.Socket, "server of CNI plugins")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	defer listener.Close()
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s := &server{Config: c, own: own, slots: make(chan struct{}, atOnce)}
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			defer time.AfterFunc(grace, cancel).Stop()
			s.calls.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("serve CNI plugins on %s: %w", entry.Socket, err)
		}
		s.calls.Go(func() {
			s.slots <- struct{}{}
			defer func() { <-s.slots }()
			defer conn.Close()
			s.serve(working, conn)
		})
	}
}

// serve answers one connection, which brings one call.
func (s *server) serve(ctx context.Context, conn *net.UnixConn) {
	r, err := s.request(conn)
	if err != nil {
		s.Log.Debug("plugin does its call itself", "why", err)
		_ = answer(conn, entry.Declined, 0, nil) // who is gone needs no answer
		return
	}
	defer r.close()
	call := r.call()
	// A caller that was killed while its call ran does not get in its own way when it comes again.
	unlock := s.locks.lock(r.name() + " " + call.Getenv("CNI_CONTAINERID"))
	defer unlock()
	if withdrawn(conn) {
		_ = answer(conn, entry.Declined, 0, nil)
		return
	}
	ctx, done := watching(ctx, conn)
	defer done()
	begin := time.Now()
	code, said := s.main(ctx, r.name(), call)
	if len(said) > entry.Limit { // more than an answer holds
		_, err = r.stdout.Write(said)
		said = nil
	}
	r.close()
	err = errors.Join(err, answer(conn, entry.Done, uint32(code), said))
	s.Log.Debug("plugin called", "plugin", r.name(), "verb", call.Getenv("CNI_COMMAND"), "container", call.Getenv("CNI_CONTAINERID"),
		"code", code, "duration", time.Since(begin), "err", err)
}

// answer tells the caller what to do, and what to write on its stdout first.
func answer(conn *net.UnixConn, kind, value uint32, said []byte) error {
	message := binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, kind), value)
	_, err := conn.Write(append(message, said...))
	return err
}

// request returns a request that is ours to do, or why there is none. The caller closes it.
func (s *server) request(conn *net.UnixConn) (*request, error) {
	r, err := receive(conn)
	if err != nil {
		return nil, err
	}
	var theirs namespaces
	if r.process, err = root(conn); err == nil {
		theirs, err = namespacesOf(r.process)
	}
	if err == nil && theirs != s.own {
		err = errors.New("its namespaces are others than ours")
	}
	if err == nil {
		err = r.understood()
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}
