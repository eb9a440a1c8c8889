// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"eastwest/internal/cri/runner"
	"eastwest/internal/kernel/netns"
)

// streamServer serves exec, attach and port-forward to whoever has a URL with a token that a request over the socket was
// answered with.
type streamServer struct {
	streaming.Server
	http *http.Server
}

// startStreams listens on the configured address; the port may be 0.
func (s *Server) startStreams() (*streamServer, error) {
	listener, err := net.Listen("tcp", s.cfg.StreamAddress)
	if err != nil {
		return nil, fmt.Errorf("listen for streams: %w", err)
	}
	cfg := streaming.DefaultConfig
	cfg.Addr = listener.Addr().String()
	cfg.BaseURL = &url.URL{Scheme: "http", Host: cfg.Addr}
	handler, err := streaming.NewServer(cfg, &streamRuntime{server: s})
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("make stream server: %w", err)
	}
	streams := &streamServer{Server: handler, http: &http.Server{
		Handler: handler, ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 64 << 10,
	}}
	go func() {
		if err := streams.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("serve streams", "address", cfg.Addr, "err", err)
		}
	}()
	s.mu.Lock()
	s.streams = streams
	s.mu.Unlock()
	return streams, nil
}

func (s *streamServer) close() { _ = s.http.Close() }

func (s *Server) streamer() (*streamServer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == nil {
		return nil, status.Error(codes.Unavailable, "the server for streams is not running")
	}
	return s.streams, nil
}

// Exec answers with a URL at which the command's streams can be had.
func (s *Server) Exec(_ context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if _, _, err := s.execProcess(req.GetContainerId(), req.GetCmd(), req.GetTty()); err != nil {
		return nil, err
	}
	streams, err := s.streamer()
	if err != nil {
		return nil, err
	}
	return streams.GetExec(req)
}

// Attach answers with a URL at which the container's own streams can be had.
func (s *Server) Attach(_ context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	if _, err := s.running(req.GetContainerId()); err != nil {
		return nil, err
	}
	streams, err := s.streamer()
	if err != nil {
		return nil, err
	}
	return streams.GetAttach(req)
}

// PortForward answers with a URL at which connections to ports of the pod can be made.
func (s *Server) PortForward(_ context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	b, err := s.sandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if !b.record().Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox container %q is not running", req.GetPodSandboxId())
	}
	streams, err := s.streamer()
	if err != nil {
		return nil, err
	}
	return streams.GetPortForward(req)
}

func (s *Server) running(id string) (containerRecord, error) {
	c, err := s.container(id)
	if err != nil {
		return containerRecord{}, err
	}
	rec := c.record()
	if rec.State != stateRunning {
		return rec, status.Errorf(codes.FailedPrecondition, "container %s is in %s state, not running", rec.ID, criState(rec.State))
	}
	return rec, nil
}

// streamRuntime is what the stream server calls once somebody has come for a stream.
type streamRuntime struct{ server *Server }

var _ streaming.Runtime = (*streamRuntime)(nil)

// Exec runs a command with the user's streams.
func (r *streamRuntime) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	rec, process, err := r.server.execProcess(id, cmd, tty)
	if err != nil {
		return err
	}
	e := runner.Exec{ID: rec.ID, Process: process, Stdin: in, Resize: sizes(ctx, resize)}
	if out != nil {
		e.Stdout = out
	}
	if errOut != nil {
		e.Stderr = errOut
	}
	code, err := r.server.runnerOf(rec.Handler).Exec(ctx, e)
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: errors.New("exit status " + strconv.Itoa(code)), Code: code}
	}
	return nil
}

// Attach connects the user's streams with the container's.
func (r *streamRuntime) Attach(ctx context.Context, id string, in io.Reader, out, errOut io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	rec, err := r.server.running(id)
	if err != nil {
		return err
	}
	streams := runner.AttachStreams{Stdin: in, Resize: sizes(ctx, resize)}
	if out != nil {
		streams.Stdout = out
	}
	if errOut != nil {
		streams.Stderr = errOut
	}
	return r.server.runnerOf(rec.Handler).Attach(ctx, r.server.runnable(rec), streams)
}

// sizes translates terminal sizes until the stream ends.
func sizes(ctx context.Context, in <-chan remotecommand.TerminalSize) <-chan runner.Size {
	if in == nil {
		return nil
	}
	out := make(chan runner.Size)
	go func() {
		defer close(out)
		for size := range in {
			select {
			case out <- runner.Size{Width: size.Width, Height: size.Height}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// PortForward connects a stream with a port on the pod's loopback, IPv4 first, as `kubectl port-forward` promises.
func (r *streamRuntime) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	b, err := r.server.sandbox(id)
	if err != nil {
		return err
	}
	conn, err := dialPod(ctx, b.record().NetNS, port)
	if err != nil {
		return fmt.Errorf("connect to port %d of pod %s: %w", port, podName(b.record().Config), err)
	}
	defer conn.Close()
	return pump(ctx, conn, stream)
}

func dialPod(ctx context.Context, ns string, port int32) (conn net.Conn, err error) {
	dial := func() error {
		var errs []error
		for _, host := range []string{"127.0.0.1", "::1"} {
			dialer := net.Dialer{Timeout: 10 * time.Second}
			if conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port)))); err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	if ns == "" {
		err = dial()
	} else {
		err = netns.Do(ns, dial)
	}
	return conn, err
}

// pump copies both ways. It ends when the pod has closed its side, or the user theirs and the pod has answered.
func pump(ctx context.Context, conn net.Conn, stream io.ReadWriter) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go func() {
		_, _ = io.Copy(conn, stream)
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
	}()
	_, err := io.Copy(stream, conn)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
