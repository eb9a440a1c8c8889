// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/socketfile"
)

// maxMessage is the size of a message that Kubernetes' CRI clients and servers agree on.
const maxMessage = 16 << 20

// Serve answers requests on a unix socket, made with mode 0600, until ctx ends; then it closes the server. A socket that
// an earlier server left is replaced; one on which somebody answers is an error.
func (s *Server) Serve(ctx context.Context, socket string) error {
	defer s.Close()
	listener, err := socketfile.Listen("unix", socket, "container runtime")
	if err != nil {
		return err
	}
	streams, err := s.startStreams()
	if err != nil {
		listener.Close()
		return err
	}
	defer streams.close()
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(s.intercept), grpc.StreamInterceptor(s.interceptStream),
	)
	runtimeapi.RegisterRuntimeServiceServer(server, s)
	runtimeapi.RegisterImageServiceServer(server, s)
	stopped := context.AfterFunc(ctx, func() {
		s.stop() // ends streams of events, which would hold the server open
		server.Stop()
	})
	defer stopped()
	s.log.Info("container runtime serves", "socket", socket, "runc", s.version)
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve container runtime on %s: %w", socket, err)
	}
	return nil
}

// intercept logs what failed and turns a panic into an error of the one request.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(info.FullMethod, p)
		}
	}()
	resp, err = handle(ctx, req)
	err = withCode(err)
	level := slog.LevelDebug
	if err != nil && status.Code(err) != codes.NotFound {
		level = slog.LevelWarn
	}
	s.log.Log(ctx, level, "cri request", "method", filepath.Base(info.FullMethod), "duration", time.Since(start), "err", err)
	return resp, err
}

func (s *Server) panicked(method string, p any) error {
	s.log.Error("request panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
	return status.Errorf(codes.Internal, "runtime failed on %s: %v", method, p)
}

func (s *Server) interceptStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(info.FullMethod, p)
		}
	}()
	err = withCode(handle(srv, stream))
	s.log.Debug("cri stream ended", "method", filepath.Base(info.FullMethod), "err", err)
	return err
}

// withCode gives an error of our packages the status code that CRI clients look at.
func withCode(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codeOf(err), err.Error())
}

func codeOf(err error) codes.Code {
	var st interface{ GRPCStatus() *status.Status }
	switch {
	case errors.As(err, &st):
		return st.GRPCStatus().Code()
	case errors.Is(err, errNotFound):
		return codes.NotFound
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, unix.ENOSPC):
		return codes.ResourceExhausted
	}
	return codes.Unknown
}
