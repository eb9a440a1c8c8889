// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// leafLife is how long an issued certificate is valid, and renewBefore how long before its end Ensure replaces it.
const (
	leafLife    = 365 * 24 * time.Hour
	renewBefore = 60 * 24 * time.Hour
)

// Pair names the files of a certificate and its key.
type Pair struct{ Certificate, Key string }

// Subject says whom a certificate is for.
type Subject struct {
	CommonName    string
	Organizations []string // groups, as Kubernetes reads them
	DNSNames      []string
	IPs           []net.IP
	Server        bool // usable by a TLS server; otherwise by a client
}

// Ensure returns the pair NAME.crt and NAME.key in dir, issued by the authority for subject. A pair that is there, fits
// the subject and does not end soon is kept. The certificate file carries the authority's certificate as well, so that a
// joining node sees it in the handshake.
func (a *Authority) Ensure(dir, name string, subject Subject) (Pair, error) {
	pair := Pair{Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
	if a.fits(pair, subject) {
		return pair, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("generate key %s: %w", pair.Key, err)
	}
	usage := x509.ExtKeyUsageClientAuth
	if subject.Server {
		usage = x509.ExtKeyUsageServerAuth
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: subject.CommonName, Organization: subject.Organizations},
		NotBefore:   time.Now().Add(-clockSkew),
		NotAfter:    time.Now().Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
		DNSNames:    subject.DNSNames,
		IPAddresses: subject.IPs,
	}
	der, err := sign(template, a.Certificate, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate %s: %w", pair.Certificate, err)
	}
	if err := pair.write(append(encodeCertificate(der), a.PEM...), key); err != nil {
		return Pair{}, fmt.Errorf("write certificate %s: %w", pair.Certificate, err)
	}
	return pair, nil
}

func (a *Authority) fits(pair Pair, subject Subject) bool {
	have, err := ReadCertificate(pair.Certificate)
	if err != nil || have.CheckSignatureFrom(a.Certificate) != nil {
		return false
	}
	key, err := readKey(pair.Key)
	if err != nil || !key.Public().(*ecdsa.PublicKey).Equal(have.PublicKey) {
		return false
	}
	return time.Until(have.NotAfter) > renewBefore &&
		have.Subject.CommonName == subject.CommonName &&
		slices.Equal(have.Subject.Organization, subject.Organizations) &&
		slices.Equal(have.DNSNames, subject.DNSNames) &&
		slices.EqualFunc(have.IPAddresses, subject.IPs, net.IP.Equal)
}

// EnsureKey returns the key file NAME.key and its public key NAME.pub in dir, and makes them when they are not there.
func EnsureKey(dir, name string) (private, public string, err error) {
	private, public = filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pub")
	key, err := readKey(private)
	if errors.Is(err, os.ErrNotExist) {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
			err = writeKey(private, key)
		}
	}
	if err != nil {
		return "", "", fmt.Errorf("make key %s: %w", private, err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", "", fmt.Errorf("encode public key %s: %w", public, err)
	}
	if err := WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		return "", "", err
	}
	return private, public, nil
}

// ReadCertificate reads the first certificate of a PEM file.
func ReadCertificate(path string) (*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("read certificate %s: no CERTIFICATE block in it", path)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", path, err)
	}
	return certificate, nil
}

func (p Pair) write(certificate []byte, key crypto.Signer) error {
	// The key first: a certificate without its key would look like a damaged pair.
	if err := writeKey(p.Key, key); err != nil {
		return err
	}
	return WriteFile(p.Certificate, certificate, 0o644)
}

func writeKey(path string, key crypto.Signer) error {
	encoded, err := EncodeKey(key)
	if err != nil {
		return err
	}
	return WriteFile(path, encoded, 0o600)
}

// EncodeKey returns a private key as PEM, in the PKCS #8 form.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("read key %s: no PEM block in it", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read key %s: it is a %T, expected an ECDSA key", path, key)
	}
	return ec, nil
}

// WriteFile writes a file whole or not at all, with the given mode, and makes its folder (0700) when needed.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder for %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
