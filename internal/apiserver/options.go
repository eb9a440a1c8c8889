// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
)

// frontProxyName is the user as whom the aggregator speaks to aggregated API servers.
const frontProxyName = "front-proxy-client"

// completeOptions says in Kubernetes' own options what Config says.
func (c Config) completeOptions(ctx context.Context) (options.CompletedOptions, error) {
	o := options.NewOptions()
	o.GenericServerRunOptions.AdvertiseAddress = c.AdvertiseAddress.AsSlice()
	o.SecureServing.BindAddress = c.BindAddress.AsSlice()
	o.SecureServing.BindPort = int(c.Port)
	o.SecureServing.ServerCert.CertKey.CertFile = c.Credentials.Serving.Certificate
	o.SecureServing.ServerCert.CertKey.KeyFile = c.Credentials.Serving.Key
	o.ProxyClientCertFile = c.Credentials.FrontProxyClient.Certificate
	o.ProxyClientKeyFile = c.Credentials.FrontProxyClient.Key
	o.ServiceAccountSigningKeyFile = c.Credentials.ServiceAccountKey
	o.Authorization.Modes = []string{modes.ModeNode, modes.ModeRBAC}
	o.Admission.GenericAdmission.EnablePlugins = []string{"NodeRestriction"}
	o.Features.EnableProfiling = false
	o.SystemNamespaces = append(o.SystemNamespaces, corev1.NamespaceNodeLease)
	c.setStorage(o)
	c.setAuthentication(o)
	completed, err := o.Complete(ctx, nil, nil)
	if err != nil {
		return completed, fmt.Errorf("complete API server options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return completed, fmt.Errorf("validate API server options: %v", errs)
	}
	return completed, nil
}

func (c Config) setStorage(o *options.Options) {
	transport := &o.Etcd.StorageConfig.Transport
	transport.ServerList = c.Etcd
	transport.TrustedCAFile = c.EtcdCA
	transport.CertFile, transport.KeyFile = c.EtcdClient.Certificate, c.EtcdClient.Key
}

func (c Config) setAuthentication(o *options.Options) {
	a := o.Authentication
	a.ClientCert.ClientCA = c.Credentials.ClientCA
	a.BootstrapToken.Enable = true
	a.ServiceAccounts.Issuers = []string{"https://kubernetes.default.svc." + c.ClusterDomain}
	a.ServiceAccounts.KeyFiles = []string{c.Credentials.ServiceAccountPub}
	a.RequestHeader = &genericoptions.RequestHeaderAuthenticationOptions{
		ClientCAFile:        c.Credentials.FrontProxyCA,
		AllowedNames:        []string{frontProxyName},
		UsernameHeaders:     []string{"X-Remote-User"},
		GroupHeaders:        []string{"X-Remote-Group"},
		ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
	}
}

// kubeletClient says how the server reaches kubelets, for logs, exec, attach, port-forward and proxying.
func (c Config) kubeletClient() kubeletclient.KubeletClientConfig {
	return kubeletclient.KubeletClientConfig{
		Port: 10250,
		PreferredAddressTypes: []string{
			string(corev1.NodeInternalIP), string(corev1.NodeExternalIP), string(corev1.NodeHostName),
		},
		TLSClientConfig: kubeletclient.KubeletTLSConfig{
			CertFile: c.Credentials.KubeletClient.Certificate,
			KeyFile:  c.Credentials.KubeletClient.Key,
			CAFile:   c.Credentials.ClientCA,
		},
		HTTPTimeout: 5 * time.Second,
	}
}

func (r PortRange) kubernetes() utilnet.PortRange {
	return utilnet.PortRange{Base: int(r.First), Size: int(r.Last) - int(r.First) + 1}
}

// serviceNets returns the service CIDRs in the form that Kubernetes' controllers take; the second is empty when there is
// none.
func (c Config) serviceNets() [2]net.IPNet {
	var nets [2]net.IPNet
	for i, cidr := range c.ServiceCIDRs {
		nets[i] = net.IPNet{IP: cidr.Masked().Addr().AsSlice(), Mask: net.CIDRMask(cidr.Bits(), cidr.Addr().BitLen())}
	}
	return nets
}

// kubernetesServiceIP returns the address of the Service default/kubernetes: the first of the primary range.
func (c Config) kubernetesServiceIP() net.IP {
	return c.ServiceCIDRs[0].Masked().Addr().Next().AsSlice()
}
