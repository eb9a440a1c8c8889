// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
)

// known answers the first question for each object from a list that was made before, and leaves later ones to the API: at a
// first start none of more than a hundred roles and bindings is there, and at later ones all of them.
type known[T any] struct {
	kind    string
	mu      sync.Mutex
	objects map[string]*T
	asked   map[string]bool
}

func newKnown[T any](kind string, list []T, name func(*T) string) *known[T] {
	k := &known[T]{kind: kind, objects: make(map[string]*T, len(list)), asked: map[string]bool{}}
	for i := range list {
		k.objects[name(&list[i])] = &list[i]
	}
	return k
}

// get says false when the name was asked for before.
func (k *known[T]) get(name string) (*T, error, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked[name] {
		return nil, nil, false
	}
	k.asked[name] = true
	if object, ok := k.objects[name]; ok {
		return object, nil, true
	}
	return nil, apierrors.NewNotFound(rbacv1.Resource(k.kind), name), true
}

// knownRoles and knownBindings are the API's own clients but for that.
type knownRoles struct {
	reconciliation.ClusterRoleModifier
	known *known[rbacv1.ClusterRole]
}

// Get implements reconciliation.RuleOwnerModifier.
func (r knownRoles) Get(namespace, name string) (reconciliation.RuleOwner, error) {
	role, err, ok := r.known.get(name)
	switch {
	case !ok:
		return r.ClusterRoleModifier.Get(namespace, name)
	case err != nil:
		return nil, err
	}
	return reconciliation.ClusterRoleRuleOwner{ClusterRole: role}, nil
}

type knownBindings struct {
	reconciliation.ClusterRoleBindingClientAdapter
	known *known[rbacv1.ClusterRoleBinding]
}

// Get implements reconciliation.RoleBindingModifier.
func (b knownBindings) Get(namespace, name string) (reconciliation.RoleBinding, error) {
	binding, err, ok := b.known.get(name)
	switch {
	case !ok:
		return b.ClusterRoleBindingClientAdapter.Get(namespace, name)
	case err != nil:
		return nil, err
	}
	return reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: binding}, nil
}

// listKnown asks once for everything that there is.
func listKnown(ctx context.Context, client kubernetes.Interface) (roles knownRoles, bindings knownBindings, err error) {
	api := client.RbacV1()
	haveRoles, err := api.ClusterRoles().List(ctx, metav1.ListOptions{})
	if err != nil {
		return roles, bindings, fmt.Errorf("list cluster roles: %w", err)
	}
	haveBindings, err := api.ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return roles, bindings, fmt.Errorf("list cluster role bindings: %w", err)
	}
	roles = knownRoles{
		reconciliation.ClusterRoleModifier{Client: api.ClusterRoles()},
		newKnown("clusterroles", haveRoles.Items, func(r *rbacv1.ClusterRole) string { return r.Name }),
	}
	bindings = knownBindings{
		reconciliation.ClusterRoleBindingClientAdapter{Client: api.ClusterRoleBindings()},
		newKnown("clusterrolebindings", haveBindings.Items, func(b *rbacv1.ClusterRoleBinding) string { return b.Name }),
	}
	return roles, bindings, nil
}
