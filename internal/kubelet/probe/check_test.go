// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// An HTTP probe follows redirects on the pod itself; one to elsewhere is a good answer, with a warning, and is not followed.
func TestHTTPChecks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/fails", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
		case "/fails":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(address.Host)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/": "", "/moved": "HTTP probe failed with statuscode: 500", "/fails": "HTTP probe failed with statuscode: 500", "/away": "Probe terminated redirects",
	} {
		target := Target{Spec: &corev1.Container{}, IP: host}
		handler := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt(number)}}
		err := Check(t.Context(), target, handler, 10*time.Second)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
		if w := warning(""); errors.As(err, &w) != (path == "/away") {
			t.Errorf("%s: %v is a warning, or should be", path, err)
		}
	}
}
