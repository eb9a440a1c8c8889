// SPDX-License-Identifier: Apache-2.0

// Package server is the control plane of a cluster in one process: etcd, the API server, the controllers and the
// scheduler. It composes them and nothing else; `eastwest server` runs it.
//
//	data folder ─▶ pki, join token, admin.kubeconfig
//	            └▶ etcd ─▶ apiserver ─▶ controllers
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"eastwest/internal/addressplan"
	"eastwest/internal/apiserver"
	"eastwest/internal/apiserver/etcd"
	"eastwest/internal/controller"
)

// Config says what the server serves. The zero values of optional fields are the defaults that Complete documents.
type Config struct {
	DataDir          string // everything that outlives the process; mode 0700
	AdvertiseAddress netip.Addr
	BindAddress      netip.Addr // default: the unspecified address
	Port             uint16     // default 6443
	ClusterCIDRs     []netip.Prefix
	ServiceCIDRs     []netip.Prefix
	NodeCIDRBits     controller.NodeCIDRBits // default 24 and 64
	Controllers      controller.Selection    // which controllers run; default all
	NodePorts        apiserver.PortRange     // default 30000-32767
	ClusterDomain    string                  // default cluster.local
	LoadBalancers    []addressplan.Range     // for Services of type LoadBalancer; none leaves them to somebody else
	Names            []string                // more names and addresses for the serving certificate
	EtcdEndpoints    []string                // default: an etcd in this process
	Log              *slog.Logger
}

// Server is a control plane that is ready to run.
type Server struct {
	config      Config
	credentials *credentials
}

// New checks the configuration and writes what others need to reach the server, before it serves: DataDir/token, with
// which nodes join, and DataDir/admin.kubeconfig, for its administrator.
func New(config Config) (*Server, error) {
	config = config.complete()
	if err := checkFamilies(config.ClusterCIDRs, config.ServiceCIDRs); err != nil {
		return nil, err
	}
	if err := checkLoadBalancers(config.LoadBalancers); err != nil {
		return nil, err
	}
	if err := checkPort(config.BindAddress, config.Port); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	credentials, err := openCredentials(config)
	if err != nil {
		return nil, err
	}
	return &Server{config: config, credentials: credentials}, nil
}

func (c Config) complete() Config {
	if !c.BindAddress.IsValid() {
		c.BindAddress = netip.IPv4Unspecified()
		if c.AdvertiseAddress.Is6() {
			c.BindAddress = netip.IPv6Unspecified()
		}
	}
	if c.Port == 0 {
		c.Port = 6443
	}
	if c.NodeCIDRBits == (controller.NodeCIDRBits{}) {
		c.NodeCIDRBits = controller.NodeCIDRBits{IPv4: 24, IPv6: 64}
	}
	if c.NodePorts == (apiserver.PortRange{}) {
		c.NodePorts = apiserver.PortRange{First: 30000, Last: 32767}
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	return c
}

// checkFamilies refuses ranges that do not fit together: one, or one of each family, and no service where there are no pods.
func checkFamilies(pods, services []netip.Prefix) error {
	for _, list := range [][]netip.Prefix{pods, services} {
		if len(list) == 0 || len(list) > 2 || len(list) == 2 && list[0].Addr().Is6() == list[1].Addr().Is6() {
			return fmt.Errorf("ranges %v: give one, or one of each IP family, with --cluster-cidr and --service-cluster-ip-range", list)
		}
	}
	for _, service := range services {
		if !slices.ContainsFunc(pods, func(pod netip.Prefix) bool { return pod.Addr().Is6() == service.Addr().Is6() }) {
			family := "IPv4"
			if service.Addr().Is6() {
				family = "IPv6"
			}
			return fmt.Errorf("services have %s addresses (--service-cluster-ip-range %s), but pods have none: give both ranges or neither", family, service)
		}
	}
	return nil
}

// checkLoadBalancers refuses ranges that have addresses in common, of which one might be given twice.
func checkLoadBalancers(pool []addressplan.Range) error {
	for i, r := range pool {
		for _, other := range pool[:i] {
			if r.Overlaps(other) {
				return fmt.Errorf("--load-balancer-pool: %s and %s have addresses in common", other, r)
			}
		}
	}
	return nil
}

// checkPort says early, and in plain words, that somebody else has the port.
func checkPort(address netip.Addr, port uint16) error {
	listener, err := net.Listen("tcp", netip.AddrPortFrom(address, port).String())
	if err != nil {
		return fmt.Errorf("listen on API port %d: %w; stop the program that has it or choose another with --secure-port", port, err)
	}
	return listener.Close()
}

// stopPatience is how long a server that is told to stop waits for what still goes on.
const stopPatience = 20 * time.Second

// Run runs the control plane until ctx ends or a part of it fails. It returns at the latest stopPatience after ctx ended, with
// an error when something still goes on by then: requests wait for an etcd that is away, and would for minutes.
func (s *Server) Run(ctx context.Context) error {
	return within(ctx, stopPatience, s.run)
}

func within(ctx context.Context, patience time.Duration, run func(context.Context) error) error {
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		return fmt.Errorf("stop the server: requests still go on after %s, as they do while etcd is away", patience)
	}
}

func (s *Server) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	config, stop, err := s.storage(ctx, cancel)
	if err != nil {
		return err
	}
	defer stop()
	api, err := apiserver.New(ctx, config)
	if err != nil {
		return err
	}
	controllers := make(chan error, 1)
	go func() {
		err := s.runControllers(ctx, api)
		if err != nil {
			cancel(err)
		}
		controllers <- err
	}()
	go settle(ctx, api.Serving())
	err = api.Run(ctx)
	cancel(err)
	return errors.Join(err, <-controllers, failure(ctx))
}

// failure returns why the context ended early, if a part of the server ended it.
func failure(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// storage returns the configuration of an API server on the etcd to use, and starts one when none was given.
func (s *Server) storage(ctx context.Context, fail context.CancelCauseFunc) (apiserver.Config, func(), error) {
	config := s.apiConfig()
	if len(s.config.EtcdEndpoints) > 0 {
		config.Etcd = s.config.EtcdEndpoints
		return config, func() {}, nil
	}
	member, err := etcd.Start(ctx, etcd.Config{Dir: filepath.Join(s.config.DataDir, "etcd")})
	if err != nil {
		return config, nil, err
	}
	config.Etcd, config.EtcdHere = []string{member.Endpoint()}, member.Client
	go func() {
		select {
		case err := <-member.Failed():
			fail(fmt.Errorf("run etcd: %w", err))
		case <-ctx.Done():
		}
	}()
	return config, member.Close, nil
}

func (s *Server) apiConfig() apiserver.Config {
	c := s.config
	return apiserver.Config{
		BindAddress: c.BindAddress, AdvertiseAddress: c.AdvertiseAddress, Port: c.Port,
		ServiceCIDRs: c.ServiceCIDRs, NodePorts: c.NodePorts, ClusterDomain: c.ClusterDomain,
		Credentials: s.credentials.api, Log: c.Log,
	}
}

// runControllers runs the controllers once the API server answers.
func (s *Server) runControllers(ctx context.Context, api *apiserver.Server) error {
	select {
	case <-api.Serving():
	case <-ctx.Done():
		return nil // it never served: Run of the API server says why
	}
	return controller.Run(ctx, controller.Config{
		Client: api.Loopback(), Informers: api.Informers(), ClusterCIDRs: s.config.ClusterCIDRs, NodeCIDRBits: s.config.NodeCIDRBits,
		DNSAddresses: addressplan.DNS(s.config.ServiceCIDRs), LoadBalancers: s.config.LoadBalancers, Authority: s.credentials.authorityFiles,
		RootCA: s.credentials.authority.PEM, Token: s.credentials.token, Controllers: s.config.Controllers,
		// Who shares an etcd shares a cluster.
		Elect: len(s.config.EtcdEndpoints) > 0, ServiceAccountKey: s.credentials.api.ServiceAccountKey, Log: s.config.Log,
	})
}
