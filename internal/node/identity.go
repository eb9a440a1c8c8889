// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"

	"eastwest/internal/client"
	"eastwest/internal/join"
	"eastwest/internal/pki"
)

// identity is who this node is: a client certificate system:node:NAME and a serving certificate, both from the cluster's
// authority, kept in files so that a restarted agent needs no token.
type identity struct {
	node    string
	ips     []netip.Addr
	server  string
	caFile  string
	client  pki.Pair
	pool    *x509.CertPool
	serving *serving
	dialer  *connrotation.Dialer // of every connection to the API server
	log     *slog.Logger
}

// As in net/http's default transport, which a dialer of our own replaces.
const (
	dialTimeout = 30 * time.Second
	keepAlive   = 30 * time.Second
)

// retryJoin is the pause between attempts to reach a server that may still be starting.
const retryJoin = 50 * time.Millisecond

// joinCluster returns the node's identity, and asks the cluster for it when the files in dir hold none that is valid.
// It waits for a server that does not answer yet, until ctx ends.
func joinCluster(ctx context.Context, dir string, config Config) (*identity, error) {
	id := &identity{
		node: config.NodeName, ips: config.NodeIPs, server: config.Server, caFile: filepath.Join(dir, "ca.crt"),
		client: pki.Pair{Certificate: filepath.Join(dir, "client.crt"), Key: filepath.Join(dir, "client.key")},
		dialer: connrotation.NewDialer((&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext),
		log:    config.Log.With("part", "identity"),
	}
	if err := id.trust(ctx, config.Token); err != nil {
		return nil, err
	}
	id.serving = newServing(dir, id)
	if id.valid() {
		return id, nil
	}
	if err := id.enroll(ctx, config.Token); err != nil {
		return nil, fmt.Errorf("join the cluster at %s as node %s: %w", config.Server, config.NodeName, err)
	}
	return id, nil
}

// trust reads the cluster's authority from its file, or from the server's handshake, where the join token's hash tells
// the right one.
func (id *identity) trust(ctx context.Context, token join.Token) error {
	authority, err := pki.ReadCertificate(id.caFile)
	if err != nil || (token != (join.Token{}) && pki.HashOf(authority) != token.AuthorityHash) {
		if token == (join.Token{}) {
			return errors.New("this node has not joined a cluster yet: give --token or --token-file")
		}
		if authority, err = awaitAuthority(ctx, id.server, token, id.log); err != nil {
			return err
		}
		encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw})
		if err := pki.WriteFile(id.caFile, encoded, 0o644); err != nil {
			return err
		}
	}
	id.pool = x509.NewCertPool()
	id.pool.AddCert(authority)
	return nil
}

// awaitAuthority asks until the server answers; a server with another authority is an error at once.
func awaitAuthority(ctx context.Context, server string, token join.Token, log *slog.Logger) (*x509.Certificate, error) {
	logged := time.Now()
	for {
		authority, err := fetchAuthority(ctx, server, token)
		var wrong wrongAuthorityError
		if err == nil || errors.As(err, &wrong) {
			return authority, err
		}
		if time.Since(logged) > 5*time.Second {
			log.InfoContext(ctx, "wait for the API server", "server", server, "err", err)
			logged = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the API server %s: %w", server, err)
		case <-time.After(retryJoin):
		}
	}
}

type wrongAuthorityError struct{ server string }

func (e wrongAuthorityError) Error() string {
	return fmt.Sprintf("the server %s is not of the cluster that the join token is for: check --server and --token", e.server)
}

// fetchAuthority reads the authority from the server's certificate chain and checks that it is the token's and that it
// signed the server's certificate. Nothing secret is sent.
func fetchAuthority(ctx context.Context, server string, token join.Token) (*x509.Certificate, error) {
	address, err := url.Parse(server)
	if err != nil || address.Scheme != "https" || address.Port() == "" {
		return nil, wrongAuthorityError{server}
	}
	// The chain is checked below, against the token's hash instead of a pool.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", address.Host)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address.Host, err)
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	for _, candidate := range chain {
		if pki.HashOf(candidate) != token.AuthorityHash {
			continue
		}
		if err := chain[0].CheckSignatureFrom(candidate); err == nil {
			return candidate, nil
		}
	}
	return nil, wrongAuthorityError{server}
}

// valid reports whether the client certificate can be used for a while and is this node's.
func (id *identity) valid() bool {
	certificate, err := pki.ReadCertificate(id.client.Certificate)
	if err != nil || time.Until(certificate.NotAfter) < time.Hour || certificate.Subject.CommonName != nodeUser(id.node) {
		return false
	}
	if _, err := os.Stat(id.client.Key); err != nil {
		return false
	}
	_, err = certificate.Verify(x509.VerifyOptions{Roots: id.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}

// enroll asks for the client certificate with the token.
func (id *identity) enroll(ctx context.Context, token join.Token) error {
	if token == (join.Token{}) {
		return errors.New("its certificate is missing or no longer valid: give --token or --token-file")
	}
	api, err := client.New(&rest.Config{
		Host: id.server, BearerToken: token.Bearer(), QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAFile: id.caFile},
	})
	if err != nil {
		return err
	}
	return id.requestClient(ctx, api)
}

// restConfig returns the configuration of this node's API client. The certificate is read from its files again when
// they change.
func (id *identity) restConfig() *rest.Config {
	return &rest.Config{
		Host: id.server, UserAgent: "eastwest-node", QPS: -1, Dial: id.dialer.DialContext,
		TLSClientConfig: rest.TLSClientConfig{CAFile: id.caFile, CertFile: id.client.Certificate, KeyFile: id.client.Key},
	}
}

func nodeUser(name string) string { return "system:node:" + name }
