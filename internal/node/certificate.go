// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"eastwest/internal/client"
	"eastwest/internal/pki"
)

// issueTimeout bounds the wait for a certificate, and reissueAfter is the pause after a failure.
const (
	issueTimeout = 15 * time.Second
	reissueAfter = 200 * time.Millisecond
)

// certificateRequest says what is asked of a signer of the certificates API.
type certificateRequest struct {
	signer   string
	template x509.CertificateRequest
	usages   []certificatesv1.KeyUsage
}

// nodeSubject is the subject of every certificate of a node.
func nodeSubject(name string) pkix.Name {
	return pkix.Name{CommonName: nodeUser(name), Organization: []string{"system:nodes"}}
}

func (id *identity) requestClient(ctx context.Context, api *client.Client) error {
	return obtain(ctx, api, id.client, certificateRequest{
		signer:   certificatesv1.KubeAPIServerClientKubeletSignerName,
		template: x509.CertificateRequest{Subject: nodeSubject(id.node)},
		usages:   []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
	})
}

// obtain asks until it gets a certificate, and writes it and its key to the files of pair. It tries again while the
// server is starting and its rights are not in place; a denial is an error.
func obtain(ctx context.Context, api *client.Client, pair pki.Pair, request certificateRequest) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &request.template, key)
	if err != nil {
		return fmt.Errorf("make certificate request: %w", err)
	}
	encodedKey, err := pki.EncodeKey(key)
	if err != nil {
		return err
	}
	for {
		certificate, err := ask(ctx, api, request, der)
		if err == nil {
			if err := pki.WriteFile(pair.Key, encodedKey, 0o600); err != nil {
				return err
			}
			return pki.WriteFile(pair.Certificate, certificate, 0o644)
		}
		if errors.Is(err, errDenied) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(reissueAfter):
		}
	}
}

var errDenied = errors.New("the cluster denied the certificate")

// ask makes one request and waits until it is signed.
func ask(ctx context.Context, api *client.Client, request certificateRequest, der []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	object := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: request.signer, Usages: request.usages,
		},
	}
	const resource = "certificatesigningrequests"
	if err := api.Certificates().Post().Resource(resource).Body(object).Do(ctx).Into(object); err != nil {
		return nil, fmt.Errorf("create certificate signing request: %w", err)
	}
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", object.Name).String(), Watch: true}
	updates, err := api.Certificates().Get().Resource(resource).VersionedParams(&options, api.Parameters()).Watch(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch certificate signing request %s: %w", object.Name, err)
	}
	defer updates.Stop()
	for event := range updates.ResultChan() {
		if now, ok := event.Object.(*certificatesv1.CertificateSigningRequest); ok {
			if certificate, err := issued(now); certificate != nil || err != nil {
				return certificate, err
			}
		}
	}
	return nil, fmt.Errorf("certificate signing request %s was not signed in %s: see `kubectl describe csr %s`", object.Name, issueTimeout, object.Name)
}

func issued(request *certificatesv1.CertificateSigningRequest) ([]byte, error) {
	for _, condition := range request.Status.Conditions {
		if condition.Type == certificatesv1.CertificateDenied || condition.Type == certificatesv1.CertificateFailed {
			return nil, fmt.Errorf("%w (request %s): %s", errDenied, request.Name, condition.Message)
		}
	}
	if len(request.Status.Certificate) == 0 {
		return nil, nil
	}
	return request.Status.Certificate, nil
}

// renew asks for a new client certificate when a third of the old one's life is left.
func (id *identity) renew(ctx context.Context, api *client.Client) error {
	for {
		if !sleep(ctx, untilRenewal(id.client.Certificate)) {
			return nil
		}
		if err := id.requestClient(ctx, api); err != nil && ctx.Err() == nil {
			id.log.WarnContext(ctx, "renew the node's client certificate; trying again", "err", err)
			sleep(ctx, time.Minute)
		}
	}
}

// untilRenewal returns how long the certificate in a file may still be used before a new one is asked for.
func untilRenewal(path string) time.Duration {
	certificate, err := pki.ReadCertificate(path)
	if err != nil {
		return 0
	}
	life := certificate.NotAfter.Sub(certificate.NotBefore)
	return time.Until(certificate.NotAfter.Add(-life / 3))
}

// sleep waits and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}
