// SPDX-License-Identifier: Apache-2.0

package nodecerts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRefuse(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeHostName, Address: "n1.example"},
	}}}
	subject := pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}}
	for _, test := range []struct {
		name   string
		user   string
		groups []string
		csr    x509.CertificateRequest
		want   string
	}{
		{"own names", "system:node:n1", []string{"system:nodes"}, x509.CertificateRequest{Subject: subject, DNSNames: []string{"n1", "n1.example"}, IPAddresses: []net.IP{net.ParseIP("192.0.2.1")}}, ""},
		{"another node", "system:node:n2", []string{"system:nodes"}, x509.CertificateRequest{Subject: subject}, "does not come from"},
		{"no node", "system:node:n1", []string{"system:authenticated"}, x509.CertificateRequest{Subject: subject}, "does not come from"},
		{"foreign name", "system:node:n1", []string{"system:nodes"}, x509.CertificateRequest{Subject: subject, DNSNames: []string{"kubernetes"}}, "the name kubernetes"},
		{"foreign address", "system:node:n1", []string{"system:nodes"}, x509.CertificateRequest{Subject: subject, IPAddresses: []net.IP{net.ParseIP("192.0.2.9")}}, "the address 192.0.2.9"},
		{"foreign subject", "system:node:n1", []string{"system:nodes"}, x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}}, "subject"},
		{"e-mail", "system:node:n1", []string{"system:nodes"}, x509.CertificateRequest{Subject: subject, EmailAddresses: []string{"a@example.org"}}, "e-mail"},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			der, err := x509.CreateCertificateRequest(rand.Reader, &test.csr, key)
			if err != nil {
				t.Fatal(err)
			}
			have := refuse(&certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
				Username: test.user, Groups: test.groups,
				Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			}}, node)
			if (have == "") != (test.want == "") || !strings.Contains(have, test.want) {
				t.Errorf("refuse = %q, want %q", have, test.want)
			}
		})
	}
	if refuse(&certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		Username: "system:node:n1", Groups: []string{"system:nodes"}, Request: []byte("garbage"),
	}}, node) == "" {
		t.Error("garbage was approved")
	}
}
