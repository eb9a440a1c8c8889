// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// listenTLS opens the addresses at which DNS is served over TLS (RFC 7858).
func (s *Server) listenTLS() error {
	if len(s.cfg.ListenTLS) > 0 && s.cfg.Certificate == nil {
		return errors.New("listen for dns over TLS: a certificate is needed")
	}
	for _, address := range s.cfg.ListenTLS {
		l, err := listenTCP(context.Background(), address)
		if err != nil {
			return err
		}
		s.secure = append(s.secure, l)
	}
	return nil
}

// serveTLS is serveTCP, with a handshake first.
func (s *Server) serveTLS(ctx context.Context, l net.Listener, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	return s.serveTCP(ctx, tls.NewListener(l, &tls.Config{
		GetCertificate: certificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"dot"},
	}))
}

// TLSAddrs returns the addresses at which the server listens for TLS.
func (s *Server) TLSAddrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, l := range s.secure {
		addrs = append(addrs, unmapped(l.Addr()))
	}
	return append(addrs, s.configured.addrs()...)
}

// CertificateFiles returns the certificate and key of two files in PEM, read again when one changes. Files that cannot be
// read are an error at first; later the last ones stay.
func CertificateFiles(certificate, key string) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	files := &certificateFiles{certificate: certificate, key: key}
	if err := files.load(); err != nil {
		return nil, err
	}
	return files.get, nil
}

type certificateFiles struct {
	certificate, key string

	mu      sync.Mutex
	changed [2]time.Time
	last    *tls.Certificate
}

func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.times() != f.changed {
		_ = f.load() // the next handshake tries again: both files may not be in place yet
	}
	if f.last == nil {
		return nil, fmt.Errorf("no certificate yet: %s and %s cannot be read", f.certificate, f.key)
	}
	return f.last, nil
}

func (f *certificateFiles) times() (times [2]time.Time) {
	for i, path := range []string{f.certificate, f.key} {
		if info, err := os.Stat(path); err == nil {
			times[i] = info.ModTime()
		}
	}
	return times
}

func (f *certificateFiles) load() error {
	times := f.times()
	pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return fmt.Errorf("read certificate %s with key %s: %w", f.certificate, f.key, err)
	}
	f.last, f.changed = &pair, times
	return nil
}
