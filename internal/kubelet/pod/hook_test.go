// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A hook asks by HTTPS whoever answers, by HTTP where nobody speaks HTTPS, and takes any answer; no answer is an error.
func TestHooksAskOnceByEitherScheme(t *testing.T) {
	var asked, secret []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, secret = append(asked, r.URL.String()), append(secret, r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusTeapot)
	})
	tls, plain, closed := httptest.NewTLSServer(handler), httptest.NewServer(handler), httptest.NewServer(handler)
	defer tls.Close()
	defer plain.Close()
	closed.Close()
	for _, test := range []struct{ name, url, secret, fails string }{
		{"https", tls.URL, "token", ""},
		{"http", plain.URL, "token", ""},
		{"https at a server of http", strings.Replace(plain.URL, "http:", "https:", 1), "", ""},
		{"http at a server of https", strings.Replace(tls.URL, "https:", "http:", 1), "", ""},
		{"nobody", closed.URL, "", "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked, secret = nil, nil
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.url+"/echo?msg=hook", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "token")
			err = call(request)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("error %v, want %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.name == "http at a server of https" {
				return // Go's server answers 400 by itself: an answer
			}
			if len(asked) != 1 || asked[0] != "/echo?msg=hook" || secret[0] != test.secret {
				t.Errorf("asked for %v with %q", asked, secret)
			}
		})
	}
}
