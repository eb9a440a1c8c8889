// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/sha256"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"
)

// verifiedFor is how long a client certificate that was verified counts as verified: as long as Kubernetes' own cache of
// tokens. Authorities that change on disk are obeyed as late as that.
const verifiedFor = 10 * time.Second

// verifiedOnce is an authenticator that verifies the same client certificate once in a while rather than at every request,
// as TLS itself does it once a connection. Only who is identified by a certificate and nothing else is remembered.
type verifiedOnce struct {
	authenticator.Request
	known *cache.Expiring
	clock clock.Clock
}

func newVerifiedOnce(every authenticator.Request, clock clock.Clock) verifiedOnce {
	return verifiedOnce{every, cache.NewExpiringWithClock(clock), clock}
}

// AuthenticateRequest implements authenticator.Request.
func (v verifiedOnce) AuthenticateRequest(request *http.Request) (*authenticator.Response, bool, error) {
	if !certificateAlone(request) {
		return v.Request.AuthenticateRequest(request)
	}
	certificate := request.TLS.PeerCertificates[0]
	key := sha256.Sum256(certificate.Raw)
	if known, ok := v.known.Get(key); ok {
		if response, ok := known.(*authenticator.Response); ok {
			return response, true, nil
		}
	}
	response, ok, err := v.Request.AuthenticateRequest(request)
	if left := certificate.NotAfter.Sub(v.clock.Now()); ok && err == nil && left > 0 && response.User.GetName() != user.Anonymous {
		v.known.Set(key, response, min(left, verifiedFor))
	}
	return response, ok, err
}

// certificateAlone says whether a client's only credential is one certificate that needs no other: no token in a header or
// among the protocols of a WebSocket, and nobody on whose behalf a front proxy asks.
func certificateAlone(request *http.Request) bool {
	if request.TLS == nil || len(request.TLS.PeerCertificates) != 1 {
		return false
	}
	for _, name := range []string{"Authorization", "Sec-Websocket-Protocol", "X-Remote-User"} {
		if len(request.Header.Values(name)) > 0 {
			return false
		}
	}
	return true
}
