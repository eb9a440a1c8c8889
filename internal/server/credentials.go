// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"eastwest/internal/apiserver"
	"eastwest/internal/join"
	"eastwest/internal/pki"
)

// credentials are the certificates, keys and the join token of a cluster, kept in DataDir/pki and DataDir/token.
type credentials struct {
	authority      *pki.Authority
	authorityFiles pki.Pair
	api            apiserver.Credentials
	token          join.Token
}

func openCredentials(config Config) (*credentials, error) {
	dir := filepath.Join(config.DataDir, "pki")
	authority, err := pki.OpenAuthority(dir, "ca", "kubernetes")
	if err != nil {
		return nil, err
	}
	frontProxy, err := pki.OpenAuthority(dir, "front-proxy-ca", "front-proxy-ca")
	if err != nil {
		return nil, err
	}
	c := &credentials{authority: authority, authorityFiles: pki.Pair{Certificate: filepath.Join(dir, "ca.crt"), Key: filepath.Join(dir, "ca.key")}}
	if err := c.issue(dir, config, frontProxy); err != nil {
		return nil, err
	}
	admin, err := authority.Ensure(dir, "admin", pki.Subject{CommonName: "kubernetes-admin", Organizations: []string{"system:masters"}})
	if err != nil {
		return nil, err
	}
	if c.token, err = openToken(filepath.Join(config.DataDir, "token"), authority); err != nil {
		return nil, err
	}
	return c, c.writeKubeconfig(config, admin)
}

// issue makes what the API server presents and trusts.
func (c *credentials) issue(dir string, config Config, frontProxy *pki.Authority) error {
	serving, err1 := c.authority.Ensure(dir, "apiserver", servingSubject(config))
	kubelet, err2 := c.authority.Ensure(dir, "apiserver-kubelet-client",
		pki.Subject{CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"}})
	proxy, err3 := frontProxy.Ensure(dir, "front-proxy-client", pki.Subject{CommonName: "front-proxy-client"})
	private, public, err4 := pki.EnsureKey(dir, "sa")
	c.api = apiserver.Credentials{
		Serving: serving, ServingCA: c.authorityFiles.Certificate, ClientCA: c.authorityFiles.Certificate, KubeletClient: kubelet,
		FrontProxyCA: filepath.Join(dir, "front-proxy-ca.crt"), FrontProxyClient: proxy,
		ServiceAccountKey: private, ServiceAccountPub: public,
	}
	return errors.Join(err1, err2, err3, err4)
}

// servingSubject lists every name and address under which clients reach the API server.
func servingSubject(config Config) pki.Subject {
	subject := pki.Subject{
		CommonName: "kube-apiserver", Server: true,
		DNSNames: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + config.ClusterDomain, "localhost"},
		IPs:      []net.IP{config.AdvertiseAddress.AsSlice(), net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback},
	}
	for _, cidr := range config.ServiceCIDRs {
		subject.IPs = append(subject.IPs, cidr.Masked().Addr().Next().AsSlice())
	}
	for _, name := range config.Names {
		if address, err := netip.ParseAddr(name); err == nil {
			subject.IPs = append(subject.IPs, address.AsSlice())
		} else {
			subject.DNSNames = append(subject.DNSNames, name)
		}
	}
	return subject
}

// openToken reads the join token or makes one. A token for another authority is replaced: no node could use it.
func openToken(path string, authority *pki.Authority) (join.Token, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return join.Token{}, fmt.Errorf("read join token: %w", err)
	}
	if err == nil {
		token, err := join.Parse(string(data))
		if err != nil {
			return join.Token{}, fmt.Errorf("%s: %w; delete the file to get a new token", path, err)
		}
		if token.AuthorityHash == authority.Hash() {
			return token, nil
		}
	}
	token := join.New(authority.Hash())
	return token, pki.WriteFile(path, []byte(token.String()+"\n"), 0o600)
}

// writeKubeconfig writes the administrator's kubeconfig, which carries its certificate and key.
func (c *credentials) writeKubeconfig(config Config, admin pki.Pair) error {
	certificate, err1 := os.ReadFile(admin.Certificate)
	key, err2 := os.ReadFile(admin.Key)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("read administrator's certificate: %w", err)
	}
	const name = "eastwest"
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters[name] = &clientcmdapi.Cluster{
		Server:                   "https://" + net.JoinHostPort(config.AdvertiseAddress.String(), strconv.Itoa(int(config.Port))),
		CertificateAuthorityData: c.authority.PEM,
	}
	kubeconfig.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
	kubeconfig.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	kubeconfig.CurrentContext = name
	data, err := clientcmd.Write(*kubeconfig)
	if err != nil {
		return fmt.Errorf("encode administrator's kubeconfig: %w", err)
	}
	return pki.WriteFile(filepath.Join(config.DataDir, "admin.kubeconfig"), data, 0o600)
}
