// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	testclock "k8s.io/utils/clock/testing"
)

// verifier counts how often it was asked.
type verifier struct {
	asked int
	name  string
	err   error
}

func (v *verifier) AuthenticateRequest(*http.Request) (*authenticator.Response, bool, error) {
	v.asked++
	if v.err != nil {
		return nil, false, v.err
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: v.name}}, true, nil
}

func TestCertificateIsVerifiedOnceInAWhile(t *testing.T) {
	clock := testclock.NewFakeClock(time.Now())
	every := &verifier{name: "admin"}
	v := newVerifiedOnce(every, clock)
	ask := func(name string, request *http.Request, want int) {
		t.Helper()
		response, ok, err := v.AuthenticateRequest(request)
		if every.err == nil && (err != nil || !ok || response.User.GetName() != every.name) {
			t.Errorf("%s: %v, %v, %v", name, response, ok, err)
		}
		if every.asked != want {
			t.Errorf("%s: verified %d times, want %d", name, every.asked, want)
		}
	}
	from := func(certificate string, headers ...string) *http.Request {
		request := &http.Request{Header: http.Header{}, TLS: &tls.ConnectionState{
			PeerCertificates: []*x509.Certificate{{Raw: []byte(certificate), NotAfter: clock.Now().Add(time.Minute)}},
		}}
		for _, header := range headers {
			request.Header.Set(header, "x")
		}
		return request
	}
	ask("first", from("a"), 1)
	ask("again", from("a"), 1)
	ask("another", from("b"), 2)
	ask("with a token", from("a", "Authorization"), 3)
	ask("with a token of a WebSocket", from("a", "Sec-WebSocket-Protocol"), 4)
	ask("for somebody else", from("a", "X-Remote-User"), 5)
	ask("without TLS", &http.Request{Header: http.Header{}}, 6)
	chain := from("a")
	chain.TLS.PeerCertificates = append(chain.TLS.PeerCertificates, &x509.Certificate{})
	ask("with another certificate", chain, 7)
	ask("still", from("a"), 7)
	clock.Step(verifiedFor + time.Second)
	ask("after a while", from("a"), 8)

	short := from("c")
	short.TLS.PeerCertificates[0].NotAfter = clock.Now().Add(3 * time.Second)
	ask("ends soon", short, 9)
	clock.Step(4 * time.Second)
	ask("ended", short, 10)
	ask("ended again", short, 11)

	every.name = user.Anonymous
	ask("nobody", from("d"), 12)
	ask("nobody again", from("d"), 13)
	every.err = errors.New("unknown authority")
	ask("refused", from("e"), 14)
	ask("refused again", from("e"), 15)
}
