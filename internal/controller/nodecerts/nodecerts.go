// SPDX-License-Identifier: Apache-2.0

// Package nodecerts approves the serving certificates of nodes. Kubernetes signs them but leaves the approval to whoever
// knows the nodes: here a request is approved when it comes from a node, for itself, and asks for no name and no address
// that is not the Node's. Everything else is left to an administrator.
package nodecerts

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	certificatesinformers "k8s.io/client-go/informers/certificates/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

const (
	nodesGroup = "system:nodes"
	nodePrefix = "system:node:"
)

type controller struct {
	client kubernetes.Interface
	lister certificateslisters.CertificateSigningRequestLister
	synced []cache.InformerSynced
	queue  workqueue.TypedRateLimitingInterface[string]
	log    *slog.Logger
}

// New returns the controller's loop.
func New(client kubernetes.Interface, requests certificatesinformers.CertificateSigningRequestInformer, nodes coreinformers.NodeInformer, log *slog.Logger) (func(context.Context), error) {
	c := &controller{
		client: client, lister: requests.Lister(), log: log,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	registration, err := requests.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if request, ok := object.(*certificatesv1.CertificateSigningRequest); ok && open(request) {
				c.queue.Add(request.Name)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch certificate signing requests: %w", err)
	}
	// A node that has moved may ask for its new address before its Node says that it has it.
	if _, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: c.addressesChanged}); err != nil {
		return nil, fmt.Errorf("watch nodes: %w", err)
	}
	c.synced = []cache.InformerSynced{registration.HasSynced, nodes.Informer().HasSynced}
	return c.run, nil
}

// open reports whether a request is for a node's serving certificate and nobody has decided yet.
func open(request *certificatesv1.CertificateSigningRequest) bool {
	return request.Spec.SignerName == certificatesv1.KubeletServingSignerName &&
		len(request.Status.Certificate) == 0 && len(request.Status.Conditions) == 0
}

// addressesChanged looks at a node's open requests again when it has other addresses than before.
func (c *controller) addressesChanged(before, now any) {
	old, isOld := before.(*corev1.Node)
	node, isNode := now.(*corev1.Node)
	if !isOld || !isNode || slices.Equal(old.Status.Addresses, node.Status.Addresses) {
		return
	}
	requests, err := c.lister.List(labels.Everything())
	if err != nil {
		c.log.Error("list certificate signing requests", "err", err)
	}
	for _, request := range requests {
		if open(request) && request.Spec.Username == nodePrefix+node.Name {
			c.queue.Add(request.Name)
		}
	}
}

func (c *controller) run(ctx context.Context) {
	defer c.queue.ShutDown()
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	context.AfterFunc(ctx, c.queue.ShutDown)
	for {
		name, stop := c.queue.Get()
		if stop {
			return
		}
		if err := c.sync(ctx, name); err != nil {
			c.log.WarnContext(ctx, "approve serving certificate; trying again", "request", name, "err", err)
			c.queue.AddRateLimited(name)
		} else {
			c.queue.Forget(name)
		}
		c.queue.Done(name)
	}
}

func (c *controller) sync(ctx context.Context, name string) error {
	request, err := c.lister.Get(name)
	if err != nil || !open(request) {
		return nil
	}
	node, err := c.client.CoreV1().Nodes().Get(ctx, strings.TrimPrefix(request.Spec.Username, nodePrefix), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get the node that asks: %w", err)
	}
	if reason := refuse(request, node); reason != "" {
		c.log.WarnContext(ctx, "leave serving certificate to an administrator", "request", name, "user", request.Spec.Username, "reason", reason)
		return nil
	}
	approved := request.DeepCopy()
	approved.Status.Conditions = append(approved.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved",
		Message: "The node asks for its own name and addresses.",
	})
	_, err = c.client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, name, approved, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("approve certificate signing request %s: %w", name, err)
	}
	return nil
}

// refuse returns why a request is not one that any node may make for itself, or nothing when it is.
func refuse(request *certificatesv1.CertificateSigningRequest, node *corev1.Node) string {
	if !slices.Contains(request.Spec.Groups, nodesGroup) || request.Spec.Username != nodePrefix+node.Name {
		return "it does not come from the node that it is for"
	}
	block, _ := pem.Decode(request.Spec.Request)
	if block == nil {
		return "it holds no PEM block"
	}
	wanted, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return "it cannot be parsed: " + err.Error()
	}
	if wanted.Subject.CommonName != nodePrefix+node.Name || !slices.Equal(wanted.Subject.Organization, []string{nodesGroup}) {
		return "its subject is not the node"
	}
	if len(wanted.EmailAddresses)+len(wanted.URIs) > 0 {
		return "it asks for e-mail addresses or URIs"
	}
	return refuseNames(wanted, node)
}

func refuseNames(wanted *x509.CertificateRequest, node *corev1.Node) string {
	names, addresses := []string{node.Name}, []net.IP{}
	for _, address := range node.Status.Addresses {
		if ip := net.ParseIP(address.Address); ip != nil {
			addresses = append(addresses, ip)
		} else {
			names = append(names, address.Address)
		}
	}
	for _, name := range wanted.DNSNames {
		if !slices.Contains(names, name) {
			return "it asks for the name " + name
		}
	}
	for _, ip := range wanted.IPAddresses {
		if !slices.ContainsFunc(addresses, ip.Equal) {
			return "it asks for the address " + ip.String()
		}
	}
	return ""
}
