// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T, dir string) *Authority {
	t.Helper()
	authority, err := OpenAuthority(dir, "ca", "test")
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func TestAuthorityIsKept(t *testing.T) {
	dir := t.TempDir()
	if first, second := open(t, dir), open(t, dir); first.Hash() != second.Hash() {
		t.Error("opening an authority twice made two")
	}
}

func TestAuthorityWithoutKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, "ca", "test"); err == nil {
		t.Error("an authority without its key was replaced or opened")
	}
}

func TestPairIsReissuedOnlyWhenItsSubjectChanges(t *testing.T) {
	dir := t.TempDir()
	authority := open(t, dir)
	read := func(subject Subject) []byte {
		t.Helper()
		pair, err := authority.Ensure(dir, "server", subject)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(pair.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	subject := Subject{CommonName: "a", DNSNames: []string{"a"}, IPs: []net.IP{net.IPv4(192, 0, 2, 1)}, Server: true}
	first := read(subject)
	if !bytes.Equal(first, read(subject)) {
		t.Error("the same subject got a new certificate")
	}
	subject.IPs = append(subject.IPs, net.IPv4(192, 0, 2, 2))
	if bytes.Equal(first, read(subject)) {
		t.Error("a changed subject kept the old certificate")
	}
}

func TestKeysAreNotReadableByOthers(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, _, err := EnsureKey(dir, "sa"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.key", "sa.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", name, info.Mode(), err)
		}
	}
}

// A client that trusts the authority talks to a server with an issued pair, and sees the authority in the handshake.
func TestIssuedPairServes(t *testing.T) {
	dir := t.TempDir()
	authority := open(t, dir)
	pair, err := authority.Ensure(dir, "server", Subject{CommonName: "s", DNSNames: []string{"server.test"}, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tls.LoadX509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	clientEnd, serverEnd := net.Pipe()
	server := tls.Server(serverEnd, &tls.Config{Certificates: []tls.Certificate{loaded}})
	go func() { _ = server.Handshake(); _, _ = io.Copy(io.Discard, server) }()
	client := tls.Client(clientEnd, &tls.Config{RootCAs: authority.Pool(), ServerName: "server.test"})
	defer client.Close()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	peers := client.ConnectionState().PeerCertificates
	if len(peers) != 2 || HashOf(peers[1]) != authority.Hash() || peers[0].KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		t.Errorf("the handshake showed %d certificates, want the server's and the authority's", len(peers))
	}
}
