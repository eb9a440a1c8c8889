// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientapi "k8s.io/client-go/tools/clientcmd/api"
)

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func (o options) startOurs(dir string) (*processes, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p := &processes{dir: dir, config: func() (*rest.Config, error) {
		return clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "admin.kubeconfig"))
	}}
	return p, p.start(filepath.Join(o.bin, "eastwest-server"), "--data-dir", dir, "--advertise-address", "127.0.0.1",
		"--bind-address", "127.0.0.1", "--secure-port", strconv.Itoa(port))
}

// startGenuine starts all four programs at once, as a person's units would; those that need another wait for it.
func (o options) startGenuine(dir string) (*processes, error) {
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	key, tokens, kubeconfig := filepath.Join(dir, "sa.key"), filepath.Join(dir, "tokens.csv"), filepath.Join(dir, "kubeconfig")
	url := fmt.Sprintf("https://127.0.0.1:%d", ports[0])
	if err := writeGenuine(key, tokens, kubeconfig, url); err != nil {
		return nil, err
	}
	p := &processes{dir: dir, config: func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }}
	etcd := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	peer := fmt.Sprintf("http://127.0.0.1:%d", ports[2])
	if err := p.start(filepath.Join(o.peers, "etcd"), "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", etcd,
		"--advertise-client-urls", etcd, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "default="+peer); err != nil {
		return p, err
	}
	if err := p.start(filepath.Join(o.peers, "kube-apiserver"), "--etcd-servers", etcd, "--bind-address", "127.0.0.1",
		"--advertise-address", "127.0.0.1", "--secure-port", strconv.Itoa(ports[0]), "--cert-dir", filepath.Join(dir, "certs"),
		"--service-cluster-ip-range", "10.96.0.0/12", "--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file", key, "--service-account-signing-key-file", key, "--token-auth-file", tokens,
		"--authorization-mode", "Node,RBAC", "--allow-privileged=true"); err != nil {
		return p, err
	}
	if err := p.start(filepath.Join(o.peers, "kube-controller-manager"), "--kubeconfig", kubeconfig, "--secure-port", "0",
		"--leader-elect=false", "--service-account-private-key-file", key, "--allocate-node-cidrs", "--cluster-cidr", "10.244.0.0/16",
		"--service-cluster-ip-range", "10.96.0.0/12", "--flex-volume-plugin-dir", filepath.Join(dir, "plugins")); err != nil {
		return p, err
	}
	return p, p.start(filepath.Join(o.peers, "kube-scheduler"), "--kubeconfig", kubeconfig, "--secure-port", "0", "--leader-elect=false")
}

// writeGenuine writes what the genuine programs share: the key of service accounts and an administrator's token.
func writeGenuine(key, tokens, kubeconfig, url string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return err
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	token := rand.Text()
	if err := os.WriteFile(tokens, []byte(token+`,admin,admin,"system:masters"`+"\n"), 0o600); err != nil {
		return err
	}
	config := clientapi.NewConfig()
	config.Clusters["peer"] = &clientapi.Cluster{Server: url, InsecureSkipTLSVerify: true}
	config.AuthInfos["peer"] = &clientapi.AuthInfo{Token: token}
	config.Contexts["peer"] = &clientapi.Context{Cluster: "peer", AuthInfo: "peer"}
	config.CurrentContext = "peer"
	return clientcmd.WriteToFile(*config, kubeconfig)
}
