// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// rolesAtOnce is how many roles and bindings are written at a time: enough to share etcd's writes to disk.
const rolesAtOnce = 32

// startPatience is how long the server tries to make its first objects before it gives up, as kube-apiserver does.
const startPatience = 30 * time.Second

// roles provides Kubernetes' own storage of the rbac group. Its roles and bindings are made by a hook of ours:
// Kubernetes' waits a second before it begins, writes one object at a time, and no node can join until it is through.
// What that one does for servers older than Kubernetes 1.9 is left out: there are no such servers of ours.
type roles struct{ rbacrest.RESTStorageProvider }

// PostStartHook returns a hook under the name that people find in /readyz.
func (roles) PostStartHook() (string, genericapiserver.PostStartHookFunc, error) {
	return rbacrest.PostStartHookName, ensureRoles, nil
}

// ensureRoles makes the roles and bindings that Kubernetes promises, and gives those that exist the rights that they lack.
// What people added to them, and objects that ask not to be touched, stay.
func ensureRoles(hook genericapiserver.PostStartHookContext) error {
	config := rest.CopyConfig(hook.LoopbackClientConfig)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client for roles: %w", err)
	}
	ctx, cancel := context.WithTimeout(hook, startPatience)
	defer cancel()
	var roles knownRoles
	var bindings knownBindings
	err = patiently(ctx, func() (err error) {
		roles, bindings, err = listKnown(ctx, client)
		return err
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rolesAtOnce)
	for _, ensure := range promisedRoles(client, roles, bindings) {
		group.Go(func() error { return patiently(ctx, ensure) })
	}
	return group.Wait()
}

// patiently repeats what fails, as storage may that is not there yet, until ctx ends.
func patiently(ctx context.Context, ensure func() error) error {
	for {
		err := ensure()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// promisedRoles lists what makes each role and binding. A binding may come before its role.
func promisedRoles(client kubernetes.Interface, clusterRoles knownRoles, clusterBindings knownBindings) []func() error {
	var all []func() error
	forRole := func(owner reconciliation.RuleOwner, modifier reconciliation.RuleOwnerModifier) {
		all = append(all, func() error {
			options := reconciliation.ReconcileRoleOptions{Role: owner, Client: modifier, Confirm: true}
			if _, err := options.Run(); err != nil {
				return fmt.Errorf("ensure role %s: %w", owner.GetName(), err)
			}
			return nil
		})
	}
	forBinding := func(binding reconciliation.RoleBinding, modifier reconciliation.RoleBindingModifier) {
		all = append(all, func() error {
			options := reconciliation.ReconcileRoleBindingOptions{RoleBinding: binding, Client: modifier, Confirm: true}
			if _, err := options.Run(); err != nil {
				return fmt.Errorf("ensure role binding %s: %w", binding.GetName(), err)
			}
			return nil
		})
	}
	api := client.RbacV1()
	for _, list := range [][]rbacv1.ClusterRole{bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()} {
		for i := range list {
			forRole(reconciliation.ClusterRoleRuleOwner{ClusterRole: &list[i]}, clusterRoles)
		}
	}
	for _, list := range [][]rbacv1.ClusterRoleBinding{bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()} {
		for i := range list {
			forBinding(reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &list[i]}, clusterBindings)
		}
	}
	namespaces := client.CoreV1().Namespaces()
	for _, list := range bootstrappolicy.NamespaceRoles() {
		for i := range list {
			forRole(reconciliation.RoleRuleOwner{Role: &list[i]}, reconciliation.RoleModifier{Client: api, NamespaceClient: namespaces})
		}
	}
	for _, list := range bootstrappolicy.NamespaceRoleBindings() {
		for i := range list {
			forBinding(reconciliation.RoleBindingAdapter{RoleBinding: &list[i]},
				reconciliation.RoleBindingClientAdapter{Client: api, NamespaceClient: namespaces})
		}
	}
	return all
}
