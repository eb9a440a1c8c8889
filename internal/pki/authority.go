// SPDX-License-Identifier: Apache-2.0

// Package pki makes and keeps the certificates of a cluster: certificate authorities, what they sign, and key pairs,
// as PEM files in one folder. Keys are ECDSA on P-256; every file is written whole or not at all, and keys are 0600.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// authorityLife is how long an authority's own certificate is valid: as long as kubeadm's.
const authorityLife = 10 * 365 * 24 * time.Hour

// clockSkew is how far a peer's clock may be behind ours.
const clockSkew = time.Hour

// Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	PEM         []byte // the certificate
	key         crypto.Signer
}

// OpenAuthority reads the authority NAME.crt and NAME.key from dir, or makes it there when neither file exists. One file
// without the other is an error: replacing an authority would lock out everyone who trusts it.
func OpenAuthority(dir, name, commonName string) (*Authority, error) {
	pair := Pair{Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
	_, certErr := os.Stat(pair.Certificate)
	_, keyErr := os.Stat(pair.Key)
	switch {
	case errors.Is(certErr, os.ErrNotExist) && errors.Is(keyErr, os.ErrNotExist):
		if err := createAuthority(pair, commonName); err != nil {
			return nil, fmt.Errorf("create certificate authority %s: %w", pair.Certificate, err)
		}
	case certErr != nil || keyErr != nil:
		return nil, fmt.Errorf("open certificate authority %s: %w; restore the missing file", pair.Certificate, errors.Join(certErr, keyErr))
	}
	return readAuthority(pair)
}

func createAuthority(pair Pair, commonName string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             time.Now().Add(-clockSkew),
		NotAfter:              time.Now().Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := sign(template, template, key.Public(), key)
	if err != nil {
		return err
	}
	return pair.write(encodeCertificate(der), key)
}

func readAuthority(pair Pair) (*Authority, error) {
	certificate, err := ReadCertificate(pair.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := readKey(pair.Key)
	if err != nil {
		return nil, err
	}
	return &Authority{Certificate: certificate, PEM: encodeCertificate(certificate.Raw), key: key}, nil
}

// Hash returns the SHA-256 of the authority's public key, by which a joining node recognises it. It is the hash that
// kubeadm calls discovery-token-ca-cert-hash.
func (a *Authority) Hash() [sha256.Size]byte { return HashOf(a.Certificate) }

// HashOf returns the SHA-256 of a certificate's public key.
func HashOf(certificate *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
}

// Pool returns a pool that trusts this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, parent, public, signer)
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
