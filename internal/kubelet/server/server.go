// SPDX-License-Identifier: Apache-2.0

// Package server is the kubelet's port: logs, exec, attach and port-forward for the API server, pods, metrics and statistics for
// whoever may read them. Every request is authenticated (client certificate or token) and authorized by the API server.
package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/client"
	"eastwest/internal/kubelet/pod"
)

// Config says what is served, to whom, and where.
type Config struct {
	NodeName    string
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ClientCA    *x509.CertPool
	Client      *client.Client
	Runtime     runtimeapi.RuntimeServiceClient
	Pods        *pod.Manager
	Metrics     http.Handler // prometheus text
	Resource    http.Handler // what the node and its pods use
	Summary     func(ctx context.Context) (any, error)
	Configz     func() any
	Healthy     func() error
	Log         *slog.Logger
}

// Server answers on one port.
type Server struct {
	config Config
	guard  *guard
	http   *http.Server
}

// shutdownTime is how long requests in flight may take after the end.
const shutdownTime = 2 * time.Second

// New makes a server; Serve starts it.
func New(config Config) *Server {
	s := &Server{config: config, guard: newGuard(config.Client, config.NodeName, config.ClientCA)}
	s.http = &http.Server{
		Handler: s.guard.protect(s.routes()), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 1 << 20, ErrorLog: slog.NewLogLogger(config.Log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{GetCertificate: config.Certificate, ClientCAs: config.ClientCA,
			ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
	}
	return s
}

// Serve answers on the listener until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if s.http.Shutdown(limited) != nil {
			s.http.Close() // streams that go on do not hold the program back
		}
	})
	defer stop()
	if err := s.http.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the kubelet's port %s: %w", l.Addr(), err)
	}
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /healthz/{check}", s.healthz)
	mux.Handle("GET /metrics", s.config.Metrics)
	mux.Handle("GET /metrics/resource", s.config.Resource)
	mux.Handle("GET /metrics/{part}", s.config.Metrics)
	mux.HandleFunc("GET /pods", s.pods)
	mux.HandleFunc("GET /runningpods/", s.pods)
	mux.HandleFunc("GET /stats/summary", s.summary)
	mux.HandleFunc("GET /configz", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"kubeletconfig": s.config.Configz()})
	})
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	for _, prefix := range []string{"/exec", "/attach"} {
		mux.HandleFunc(prefix+"/{namespace}/{pod}/{container}", s.stream(prefix[1:]))
		mux.HandleFunc(prefix+"/{namespace}/{pod}/{uid}/{container}", s.stream(prefix[1:]))
	}
	mux.HandleFunc("/portForward/{namespace}/{pod}", s.stream("portForward"))
	mux.HandleFunc("/portForward/{namespace}/{pod}/{uid}", s.stream("portForward"))
	mux.HandleFunc("POST /run/{namespace}/{pod}/{container}", s.run)
	mux.HandleFunc("POST /run/{namespace}/{pod}/{uid}/{container}", s.run)
	return mux
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := s.config.Healthy(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write([]byte("ok"))
}

func answer(w http.ResponseWriter, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data) // a client that went away needs no answer
}
