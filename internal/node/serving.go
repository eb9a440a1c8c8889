// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"eastwest/internal/pki"
)

// serving is the certificate that the kubelet's server presents. The cluster issues it once the Node is registered, for
// it is checked against the Node's addresses.
type serving struct {
	pair    pki.Pair
	id      *identity
	current atomic.Pointer[tls.Certificate]
}

func newServing(dir string, id *identity) *serving {
	s := &serving{id: id, pair: pki.Pair{Certificate: filepath.Join(dir, "serving.crt"), Key: filepath.Join(dir, "serving.key")}}
	s.load()
	return s
}

// load takes the certificate from its files when it is valid and names the node's addresses of today.
func (s *serving) load() bool {
	certificate, err := pki.ReadCertificate(s.pair.Certificate)
	if err != nil || time.Now().After(certificate.NotAfter) {
		return false
	}
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: s.id.pool}); err != nil {
		return false
	}
	for _, ip := range s.id.ips {
		if !slices.ContainsFunc(certificate.IPAddresses, net.IP(ip.AsSlice()).Equal) {
			return false
		}
	}
	loaded, err := tls.LoadX509KeyPair(s.pair.Certificate, s.pair.Key)
	if err != nil {
		return false
	}
	s.current.Store(&loaded)
	return true
}

// get returns the certificate for a handshake.
func (s *serving) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if certificate := s.current.Load(); certificate != nil {
		return certificate, nil
	}
	return nil, errors.New("the cluster has not issued this node's serving certificate yet")
}

// keepServingCertificate asks for the serving certificate, and for a new one when a third of its life is left.
func (a *agent) keepServingCertificate(ctx context.Context) error {
	s := a.identity.serving
	for {
		wait := time.Duration(0)
		if s.current.Load() != nil {
			wait = untilRenewal(s.pair.Certificate)
		}
		if !sleep(ctx, wait) {
			return nil
		}
		err := obtain(ctx, a.client, s.pair, s.request())
		if err == nil && !s.load() {
			err = errors.New("the certificate that was issued does not fit the node")
		}
		if err != nil && ctx.Err() == nil {
			a.identity.log.WarnContext(ctx, "get the node's serving certificate; trying again", "err", err)
			sleep(ctx, time.Minute)
		}
	}
}

func (s *serving) request() certificateRequest {
	request := certificateRequest{
		signer:   certificatesv1.KubeletServingSignerName,
		template: x509.CertificateRequest{Subject: nodeSubject(s.id.node), DNSNames: []string{s.id.node}},
		usages:   []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
	}
	for _, ip := range s.id.ips {
		request.template.IPAddresses = append(request.template.IPAddresses, ip.AsSlice())
	}
	return request
}
