// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// browser returns a client that sends what it is told, with connections of its own, and closes them at the test's end.
func browser(t testing.TB) *http.Client {
	config := rest.CopyConfig(admin)
	config.Dial = new(net.Dialer).DialContext
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	client = &http.Client{Transport: client.Transport}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

const (
	plainJSON = "application/json"
	inYAML    = "application/yaml"
	protobuf  = "application/vnd.kubernetes.protobuf"
	services  = "/api/v1/namespaces/default/services"
)

const good = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"bad"},"spec":{"ports":[{"port":80}]}}`

// Every bad request is answered with a Status that says what is wrong, and stores nothing.
func TestBadInputIsSaid(t *testing.T) {
	strict := services + "?fieldValidation=Strict"
	deep := strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)
	for _, test := range []struct {
		name, method, path, encoding, body string
		code                               int
		message                            string
	}{
		{"empty", "POST", services, plainJSON, "", 400, "unexpected end of JSON input (<empty>)"},
		{"cut off", "POST", services, plainJSON, good[:40], 400, "unexpected end of JSON input"},
		{"no JSON", "POST", services, plainJSON, "ports: 80", 400, "invalid character 'p' looking for beginning of value"},
		{"a list", "POST", services, plainJSON, "[1,2]", 400, "cannot unmarshal array"},
		{"nested without end", "POST", services, plainJSON, deep, 400, "exceeded max depth"},
		{"no YAML", "POST", services, inYAML, "a: b: c", 400, "mapping values are not allowed"},
		{"a YAML bomb", "POST", services, inYAML, bomb(), 400, "excessive aliasing"},
		{"no protobuf", "POST", services, protobuf, "\x00\x01\x02", 400, "does not appear to be a protobuf message"},
		{"protobuf cut off", "POST", services, protobuf, "k8s\x00\x0a\xff\xff\xff\xff\x0f", 400, "unexpected EOF"},
		{"another encoding", "POST", services, "text/plain", good, 415, "accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"a wrong type", "POST", services, plainJSON, strings.Replace(good, "80", `"eighty"`, 1), 400, "json: cannot unmarshal string into Go struct field ServicePort"},
		{"another kind", "POST", services, plainJSON, strings.Replace(good, `"Service"`, `"Pod"`, 1), 400, "Pod in version \"v1\" cannot be handled as a Service"},
		{"an unknown kind", "POST", services, plainJSON, strings.Replace(good, `"Service"`, `"Servise"`, 1), 400, `no kind "Servise" is registered`},
		{"another namespace", "POST", services, plainJSON, strings.Replace(good, `"name":`, `"namespace":"other","name":`, 1), 400, "does not match the namespace"},
		{"an unknown field", "POST", strict, plainJSON, strings.Replace(good, `"spec":{`, `"spec":{"prots":[],`, 1), 400, `unknown field "spec.prots"`},
		{"a key twice", "POST", strict, plainJSON, strings.Replace(good, `"spec":{`, `"spec":{"type":"ClusterIP","type":"NodePort",`, 1), 400, `duplicate field "spec.type"`},
		{"a key twice in YAML", "POST", strict, inYAML, "apiVersion: v1\nkind: Service\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 80}]}", 400, `key "kind" already set`},
		{"an invalid value", "POST", services, plainJSON, strings.Replace(good, "80", "80000", 1), 422, "spec.ports[0].port: Invalid value: 80000: must be between 1 and 65535"},
		{"a wrong name", "POST", services, plainJSON, strings.Replace(good, `"bad"`, `"Bad_Name"`, 1), 422, "metadata.name: Invalid value"},
		{"more than the limit", "POST", services, plainJSON, large(4 << 20), 413, "Request entity too large: limit is 3145728"},
		{"larger than etcd takes", "POST", "/api/v1/namespaces/default/configmaps", plainJSON, strings.Replace(strings.Replace(large(2<<20), "Service", "ConfigMap", 1), `,"spec":{"ports":[{"port":80}]}`, "", 1), 422, "Too long"},
		{"an unknown validation", "POST", services + "?fieldValidation=Maybe", plainJSON, good, 422, "fieldValidation: Unsupported value"},
		{"an unknown dry run", "POST", services + "?dryRun=Some", plainJSON, good, 422, "dryRun: Unsupported value"},
		{"a bad selector", "GET", services + "?labelSelector=a%3D%3D%3Db", "", "", 400, "unable to parse requirement: found '=', expected: identifier"},
		{"an unknown field selector", "GET", services + "?fieldSelector=spec.color%3Dred", "", "", 400, "field label not supported: spec.color"},
		{"a bad version", "GET", services + "?resourceVersion=new", "", "", 400, "invalid resource version"},
		{"a bad continue", "GET", services + "?limit=1&continue=elsewhere", "", "", 400, "continue key is not valid"},
		{"a version of the future", "GET", services + "?resourceVersion=9999999&resourceVersionMatch=Exact", "", "", 504, "Too large resource version: 9999999"},
		{"a patch of another kind", "PATCH", services + "/kubernetes", "application/vnd.other+json", "{}", 415, "Unsupported Media Type"},
		{"a patch that is none", "PATCH", services + "/kubernetes", string(types.JSONPatchType), `{"op":"add"}`, 400, "error decoding patch: json: cannot unmarshal object"},
		{"a patch of what is not there", "PATCH", services + "/kubernetes", string(types.JSONPatchType), `[{"op":"remove","path":"/spec/none"}]`, 422, "the server rejected our request due to an error in our request"},
		{"too many patches", "PATCH", services + "/kubernetes", string(types.JSONPatchType), "[" + strings.Repeat(`{"op":"test","path":"/kind","value":"Service"},`, 10_000) + `{"op":"test","path":"/kind","value":"Service"}]`, 413, "allowed maximum operations"},
		{"apply without a manager", "PATCH", services + "/bad", string(types.ApplyPatchType), good, 422, "fieldManager: Required value"},
		{"a resource that is none", "GET", "/api/v1/namespaces/default/servises", "", "", 404, "could not find the requested resource"},
		{"a method that is none", "BREW", services, "", "", 405, "the server does not allow this method on the requested resource"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := request(t, test.method, test.path, test.encoding, test.body)
			if int(status.Code) != test.code || !strings.Contains(status.Message, test.message) {
				t.Errorf("got %d %s: %.300q, want %d and %q", status.Code, status.Reason, status.Message, test.code, test.message)
			}
		})
	}
	if _, err := api.CoreV1().Services("default").Get(t.Context(), "bad", metav1.GetOptions{}); err == nil {
		t.Error("a bad request stored its Service")
	}
}

// Two that write the same version: the second is told, and what the first wrote stays.
func TestConflictIsSaid(t *testing.T) {
	maps := api.CoreV1().ConfigMaps("default")
	first, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conflict"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first.Data = map[string]string{"by": "first"}
	if _, err := maps.Update(t.Context(), first, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	first.Data["by"] = "second"
	text, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	status := request(t, "PUT", "/api/v1/namespaces/default/configmaps/conflict", plainJSON, string(text))
	if status.Code != 409 || !strings.Contains(status.Message, "the object has been modified") {
		t.Errorf("got %d: %s", status.Code, status.Message)
	}
	if got, err := maps.Get(t.Context(), "conflict", metav1.GetOptions{}); err != nil || got.Data["by"] != "first" {
		t.Errorf("stored %v: %v", got.Data, err)
	}
}

// request sends something and returns the Status that comes back; every answer must be one.
func request(t *testing.T, method, path, encoding, body string) metav1.Status {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, admin.Host+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	if encoding != "" {
		req.Header.Set("Content-Type", encoding)
	}
	req.Header.Set("Accept", plainJSON)
	answer, err := browser(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var status metav1.Status
	if err := json.Unmarshal(text, &status); err != nil || status.Kind != "Status" || status.Status != metav1.StatusFailure || int(status.Code) != answer.StatusCode {
		t.Fatalf("%s is answered with %s and no Status: %.200s", path, answer.Status, text)
	}
	return status
}

// large is a Service with an annotation of that many bytes.
func large(size int) string {
	return strings.Replace(good, `"name":"bad"`, `"name":"bad","annotations":{"a":"`+strings.Repeat("x", size)+`"}`, 1)
}

// bomb is a few lines of YAML that stand for billions.
func bomb() string {
	out := "a0: &a0 x\n"
	for i := range 12 {
		out += fmt.Sprintf("a%[2]d: &a%[2]d [%[3]s*a%[1]d]\n", i, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 9))
	}
	return out
}
