// SPDX-License-Identifier: Apache-2.0

// Package etcd runs an etcd member inside the server's process, for a cluster that has no etcd of its own. It listens on
// a Unix socket in its data folder alone, so nobody but root reaches it and no port is taken.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// quotaBytes is the size at which etcd refuses writes; the largest that etcd recommends.
const quotaBytes = 8 << 30

// Config says where the member lives.
type Config struct {
	Dir string // data and socket; made with mode 0700
}

// Member is a running etcd of one member.
type Member struct {
	server   *embed.Etcd
	endpoint string
	level    zap.AtomicLevel // of its log
}

// Start runs a member on the data in config.Dir and returns when it serves. The caller stops it with Close.
func Start(ctx context.Context, config Config) (*Member, error) {
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make etcd folder: %w", err)
	}
	level := zap.NewAtomicLevelAt(zap.ErrorLevel)
	settings, socket := memberConfig(config, level)
	server, err := embed.StartEtcd(settings)
	if err != nil {
		return nil, fmt.Errorf("start etcd on %s: %w", config.Dir, err)
	}
	m := &Member{server: server, endpoint: "unix://" + socket, level: level}
	select {
	case <-server.Server.ReadyNotify():
		return m, nil
	case err = <-server.Err():
	case <-server.Server.StopNotify():
		err = errors.New("it stopped")
	case <-ctx.Done():
		err = ctx.Err()
	}
	server.Close()
	return nil, fmt.Errorf("start etcd on %s: %w", config.Dir, err)
}

func memberConfig(config Config, level zapcore.LevelEnabler) (*embed.Config, string) {
	socket := filepath.Join(config.Dir, "client.sock")
	client := url.URL{Scheme: "unix", Path: socket}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(config.Dir, "peer.sock")}
	settings := embed.NewConfig()
	settings.Name = "eastwest"
	settings.Dir = filepath.Join(config.Dir, "data")
	settings.ListenClientUrls, settings.ListenPeerUrls = []url.URL{client}, []url.URL{peer}
	// A member advertises host:port even when nobody is there to read it; nothing listens at these.
	settings.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "localhost:2379"}}
	settings.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
	settings.InitialCluster = settings.Name + "=" + settings.AdvertisePeerUrls[0].String()
	settings.QuotaBackendBytes = quotaBytes
	settings.SnapshotCount = 10000
	settings.UnsafeNoFsync = false
	// A member alone elects itself: a start waits for the election, which is why it is shorter than etcd's own, and an idle
	// server wakes up at every tick, which is why it is no shorter. Five ticks are etcd's least.
	settings.TickMs, settings.ElectionMs = 50, 250
	settings.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger(level))
	return settings, socket
}

// logger tells of errors alone: below, etcd speaks of what it does, not of what is wrong. Errors are few, so that none is
// left out by sampling, whose counters are half a megabyte.
func logger(level zapcore.LevelEnabler) *zap.Logger {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.Lock(os.Stderr), level))
}

// Endpoint returns the address for etcd clients.
func (m *Member) Endpoint() string { return m.endpoint }

// Client returns a new client that calls the member's functions and needs no connection. The caller closes it before the
// member.
func (m *Member) Client() *kubernetes.Client {
	client := &kubernetes.Client{Client: v3client.New(m.server.Server)}
	client.Kubernetes = client
	return client
}

// Failed yields the error that ended the member, if one does.
func (m *Member) Failed() <-chan error { return m.server.Err() }

// Close stops the member; what was acknowledged is on disk. It waits at most a few seconds for requests under way.
func (m *Member) Close() {
	// That what it listens at is closed is no error any more.
	m.level.SetLevel(zap.FatalLevel)
	done := make(chan struct{})
	go func() { m.server.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
	}
}
