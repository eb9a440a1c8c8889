// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A webhook may be served behind the API server itself, as an aggregated API is. The server calls it at its own port, as
// itself; a path that nobody serves is what it answers then, and not an error of the connection.
func TestWebhookBehindTheServerItself(t *testing.T) {
	ctx, path := t.Context(), "/apis/nobody.example.com/v1/validations"
	fail, none := admissionv1.Fail, admissionv1.SideEffectClassNone
	hooks := api.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := hooks.Create(ctx, &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "itself"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "itself.example.com", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:   admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "default", Name: "kubernetes", Path: &path}},
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"test": "itself"}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hooks.Delete(context.Background(), "itself", metav1.DeleteOptions{}) })
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "itself-", Labels: map[string]string{"test": "itself"}}}
	// The configuration is in force once the server's informer has it.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err = api.CoreV1().ConfigMaps("default").Create(ctx, config, metav1.CreateOptions{}); err != nil || time.Now().After(deadline) {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "the server could not find the requested resource") {
		t.Errorf("%v, want the server's answer for a path that nobody serves", err)
	}
}
