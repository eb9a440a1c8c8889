// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whatever a Service's spec says: it is stored, with addresses and ports that are its own, or refused as the client's
// mistake; and when it is gone its addresses are free.
func FuzzServiceSpec(f *testing.F) {
	for _, seed := range []string{
		`{"ports":[{"port":80}]}`,
		`{"clusterIP":"None"}`,
		`{"type":"NodePort","ports":[{"port":80,"nodePort":30999},{"name":"b","port":81,"nodePort":30999,"protocol":"UDP"}]}`,
		`{"type":"ExternalName","externalName":"example.com"}`,
		`{"type":"LoadBalancer","externalTrafficPolicy":"Local","ports":[{"port":1}],"healthCheckNodePort":31999}`,
		`{"clusterIP":"10.96.0.77","clusterIPs":["10.96.0.77","10.96.0.78"],"ipFamilies":["IPv4"],"ports":[{"port":1}]}`,
		`{"clusterIPs":["10.96.200.1","fd00::1"],"ipFamilyPolicy":"RequireDualStack","ports":[{"port":1}]}`,
		`{"clusterIP":"10.96.255.255","ports":[{"port":65535}],"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":-1}}}`,
		`{"type":"Nothing","ports":[]}`, `{"ports":null,"selector":{"":""}}`, `[]`, `{"clusterIP":10}`, `{"externalIPs":["::ffff:1.2.3.4"],"ports":[{"port":1}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		if !json.Valid([]byte(spec)) {
			t.Skip()
		}
		body := `{"apiVersion":"v1","kind":"Service","metadata":{"generateName":"fuzz-"},"spec":` + spec + `}`
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, admin.Host+services, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", plainJSON)
		answer, err := browser(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode >= 400 && answer.StatusCode < 500 {
			return
		}
		stored := &corev1.Service{}
		if err := json.Unmarshal(text, stored); answer.StatusCode != http.StatusCreated || err != nil {
			t.Fatalf("%s is answered with %s: %s", spec, answer.Status, text)
		}
		checkStored(t, stored)
	})
}

// checkStored looks at a Service's addresses, before and after it is deleted.
func checkStored(t *testing.T, stored *corev1.Service) {
	for _, address := range stored.Spec.ClusterIPs {
		if address == corev1.ClusterIPNone {
			continue
		}
		object, err := api.NetworkingV1().IPAddresses().Get(t.Context(), address, metav1.GetOptions{})
		if err != nil || object.Spec.ParentRef.Name != stored.Name {
			t.Errorf("%s has %s, which is of %v: %v", stored.Name, address, object.Spec.ParentRef, err)
		}
	}
	if err := api.CoreV1().Services("default").Delete(t.Context(), stored.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, address := range stored.Spec.ClusterIPs {
		if address == corev1.ClusterIPNone {
			continue
		}
		again := &corev1.Service{ObjectMeta: metav1.ObjectMeta{GenerateName: "again-"}, Spec: corev1.ServiceSpec{ClusterIP: address, Ports: []corev1.ServicePort{{Port: 1}}}}
		again, err := api.CoreV1().Services("default").Create(t.Context(), again, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("%s is not free again: %v", address, err)
		}
		if err := api.CoreV1().Services("default").Delete(t.Context(), again.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
}
