// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/config"
)

// writeCertificate writes a certificate for 127.0.0.1 with a serial number, and returns who vouches for it: itself.
func writeCertificate(t *testing.T, dir string, serial int64) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, roots = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), x509.NewCertPool()
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		// Files that are written within one tick of the clock would look unchanged.
		if err := os.Chtimes(path, time.Time{}, time.Unix(1_700_000_000+serial, 0)); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	return certificate, key, roots
}

// secureServer serves the zone of testRows over TLS as well, and returns how it is asked.
func secureServer(t *testing.T, dir string) (s *Server, roots *x509.CertPool) {
	t.Helper()
	certificate, key, roots := writeCertificate(t, dir, 1)
	get, err := CertificateFiles(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return startServer(t, ServerConfig{Zone: testZone(t, testRows()...), ListenTLS: []string{"127.0.0.1:0"}, Certificate: get}), roots
}

func askTLS(t *testing.T, s *Server, roots *x509.CertPool) string {
	t.Helper()
	c := mdns.Client{Net: "tcp-tls", Timeout: 5 * time.Second, TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"dot"}}}
	m, _, err := c.Exchange(new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA), s.TLSAddrs()[0].String())
	if err != nil {
		return err.Error()
	}
	return answers(m)
}

const webAnswer = "NOERROR A 10.96.0.20"

func TestServerAnswersOverTLS(t *testing.T) {
	dir := t.TempDir()
	s, roots := secureServer(t, dir)
	if got := askTLS(t, s, roots); got != webAnswer {
		t.Errorf("got %s", got)
	}
	_, key, renewed := writeCertificate(t, dir, 2)
	if got := askTLS(t, s, renewed); got != webAnswer {
		t.Errorf("after the certificate was renewed: got %s", got)
	}
	if got := askTLS(t, s, roots); got == webAnswer {
		t.Error("the old certificate is shown still")
	}
	if err := os.WriteFile(key, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := askTLS(t, s, renewed); got != webAnswer {
		t.Errorf("with a broken key: got %s", got)
	}
	if got := answers(ask(t, "udp", s, "web.default.svc.cluster.local.", mdns.TypeA)); got != webAnswer {
		t.Errorf("over UDP: got %s", got)
	}
}

// Somebody who speaks no TLS holds up nobody else.
func TestServerOverTLSIsNotHeldUp(t *testing.T) {
	s, roots := secureServer(t, t.TempDir())
	for range 3 {
		silent, err := net.Dial("tcp", s.TLSAddrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	if got := askTLS(t, s, roots); got != webAnswer {
		t.Errorf("got %s", got)
	}
	if _, err := NewServer(ServerConfig{Listen: []string{"127.0.0.1:0"}, ListenTLS: []string{"127.0.0.1:0"}}); err == nil {
		t.Error("serves TLS without a certificate")
	}
}

// DNS over TLS comes and goes with the configuration; what it needs may come later.
func TestConfigurationServesTLS(t *testing.T) {
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...)})
	dir := t.TempDir()
	configure := func(format string, values ...any) {
		t.Helper()
		c, err := config.Parse(fmt.Appendf(nil, format, values...))
		if err != nil {
			t.Fatal(err)
		}
		s.Configure(c)
	}
	configure("{}")
	if at := s.TLSAddrs(); len(at) != 0 {
		t.Errorf("serves TLS at %v unasked", at)
	}
	const over = "tls: {listen: ['127.0.0.1:0'], certificate: %q, key: %q}\nqueryLog: %s"
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	configure(over, certificate, key, "none")
	if got := askTLS(t, s, x509.NewCertPool()); got == webAnswer {
		t.Error("answers without a certificate")
	}
	_, _, roots := writeCertificate(t, dir, 1)
	if got := askTLS(t, s, roots); got != webAnswer {
		t.Errorf("after the certificate came: got %s", got)
	}
	before := s.TLSAddrs()[0]
	configure(over, certificate, key, "errors")
	if got := askTLS(t, s, roots); got != webAnswer || s.TLSAddrs()[0] != before {
		t.Errorf("after another change: got %s at %s, before at %s", got, s.TLSAddrs()[0], before)
	}
	configure("{}")
	if conn, err := net.Dial("tcp", before.String()); err == nil {
		_ = conn.Close()
		t.Error("serves TLS still")
	}
	if got := answers(ask(t, "tcp", s, "web.default.svc.cluster.local.", mdns.TypeA)); got != webAnswer {
		t.Errorf("over TCP: got %s", got)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	configure("tls: {listen: [%q, '127.0.0.1:0'], certificate: %q, key: %q}", taken.Addr(), certificate, key)
	if got := askTLS(t, s, roots); got != webAnswer {
		t.Errorf("beside an address that is taken: got %s", got)
	}
}

func TestTLSIsServedWhereDNSIs(t *testing.T) {
	s, err := NewServer(ServerConfig{Listen: []string{"127.0.0.1:0", "127.0.0.1:0", "[::1]:0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := strings.Join(s.secureAddresses(), " "); got != "127.0.0.1:853 [::1]:853" {
		t.Errorf("got %s", got)
	}
	s.cfg.SecureAt = addrs("192.0.2.1")
	if got := strings.Join(s.secureAddresses(), " "); got != "192.0.2.1:853" {
		t.Errorf("got %s", got)
	}
}
