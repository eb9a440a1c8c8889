// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	bootstrapGroup = "system:bootstrappers:eastwest"
	nodesGroup     = "system:nodes"
)

// bootstrap makes the objects that let nodes join: the token's Secret and the rights of those who hold one. What people
// changed in them stays. It begins before the other controllers are made: nodes wait for nothing else by then.
func bootstrap(ctx context.Context, s *shared) (func(context.Context), error) {
	made := make(chan struct{})
	go func() {
		defer close(made)
		for {
			err := s.makeBootstrapObjects(ctx)
			if err == nil || ctx.Err() != nil {
				return
			}
			s.Log.WarnContext(ctx, "make objects for joining nodes; trying again", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(bootstrapRetry):
			}
		}
	}()
	return func(context.Context) { <-made }, nil
}

const bootstrapRetry = 50 * time.Millisecond

func (s *shared) makeBootstrapObjects(ctx context.Context) error {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + s.Token.ID, Namespace: metav1.NamespaceSystem},
		Type:       corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"description":                    "joins nodes to the cluster",
			"token-id":                       s.Token.ID,
			"token-secret":                   s.Token.Secret,
			"usage-bootstrap-authentication": "true",
			"usage-bootstrap-signing":        "true",
			"auth-extra-groups":              bootstrapGroup,
		},
	}
	// The API server makes the namespace as well, a moment later.
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}}
	_, err := s.client.CoreV1().Namespaces().Create(ctx, system, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create Namespace %s: %w", system.Name, err)
	}
	_, err = s.client.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create Secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	if _, err := s.client.RbacV1().ClusterRoles().Create(ctx, namesRole(), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ClusterRole %s: %w", namesRole().Name, err)
	}
	for _, binding := range bootstrapBindings() {
		_, err := s.client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create ClusterRoleBinding %s: %w", binding.Name, err)
		}
	}
	return nil
}

// bootstrapBindings says who may ask for a node's certificate and whose requests are approved unseen: the same rights,
// under our names, that kubeadm gives.
func bootstrapBindings() []*rbacv1.ClusterRoleBinding {
	bind := func(name, role, group string) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "eastwest:" + name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group}},
		}
	}
	return []*rbacv1.ClusterRoleBinding{
		bind("kubelet-bootstrap", "system:node-bootstrapper", bootstrapGroup),
		bind("node-autoapprove-bootstrap", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", bootstrapGroup),
		bind("node-autoapprove-certificate-rotation", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", nodesGroup),
		// An agent is a node's proxy as well: it watches Services, EndpointSlices and Nodes, and reports events.
		bind("node-proxier", "system:node-proxier", nodesGroup),
		bind("node-names", namesRole().Name, nodesGroup),
	}
}

// namesRole is what an agent needs to serve names beside a proxy's rights: which namespaces there are.
func namesRole() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "eastwest:node-names"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"list", "watch"}}},
	}
}
