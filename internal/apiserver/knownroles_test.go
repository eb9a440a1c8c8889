// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
)

// What somebody else makes meanwhile is not made again, what is there gets the rights that it lacks and keeps its own, and
// nothing is asked for that a list has told.
func TestKnownRolesAreReconciledWithOneLook(t *testing.T) {
	rule := func(resource string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, Verbs: []string{"get"}}
	}
	role := func(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"rbac.authorization.kubernetes.io/autoupdate": "true"}}, Rules: rules}
	}
	client := fake.NewClientset(role("there", rule("pods"), rule("own")), role("right", rule("pods")))
	roles, _, err := listKnown(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.RbacV1().ClusterRoles().Create(t.Context(), role("meanwhile", rule("own")), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client.ClearActions()
	for _, name := range []string{"there", "right", "missing", "meanwhile"} {
		options := reconciliation.ReconcileRoleOptions{
			Role:   reconciliation.ClusterRoleRuleOwner{ClusterRole: role(name, rule("pods"), rule("nodes"))},
			Client: roles, Confirm: true,
		}
		if name == "right" {
			options.Role = reconciliation.ClusterRoleRuleOwner{ClusterRole: role(name, rule("pods"))}
		}
		if _, err := options.Run(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var verbs []string
	for _, action := range client.Actions() {
		verbs = append(verbs, action.GetVerb())
	}
	if want := []string{"update", "create", "create", "get", "update"}; !slices.Equal(verbs, want) {
		t.Errorf("asked %v, want %v", verbs, want)
	}
	for name, want := range map[string]int{"there": 3, "right": 1, "missing": 2, "meanwhile": 3} {
		if have, err := client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{}); err != nil || len(have.Rules) != want {
			t.Errorf("%s: %v, %v, want %d rules", name, have, err, want)
		}
	}
}
