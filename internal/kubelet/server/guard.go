// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"eastwest/internal/client"
)

// How long answers of the API server are remembered, and how many.
const (
	allowedFor = 5 * time.Minute
	deniedFor  = 30 * time.Second
	tokenFor   = 2 * time.Minute
	maxAnswers = 4096
)

type user struct {
	name   string
	groups []string
}

// guard authenticates and authorizes.
type guard struct {
	client *client.Client
	node   string
	ca     *x509.CertPool
	mu     sync.Mutex
	known  map[string]verdict
}

type verdict struct {
	allowed bool
	user    user
	until   time.Time
}

var errUnauthorized = errors.New("Unauthorized")

func newGuard(c *client.Client, node string, ca *x509.CertPool) *guard {
	return &guard{client: c, node: node, ca: ca, known: map[string]verdict{}}
}

func (g *guard) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := g.authenticate(r)
		if err != nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb, subresources := attributes(r)
		for _, sub := range subresources {
			allowed, err := g.authorize(r.Context(), who, verb, sub)
			if err != nil {
				http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s): %v", who.name, verb, sub, err),
					http.StatusInternalServerError)
				return
			}
			if allowed {
				next.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", who.name, verb, subresources), http.StatusForbidden)
	})
}

// attributes returns the verb and the subresources of nodes any of which allows the request, the narrowest first.
func attributes(r *http.Request) (string, []string) {
	verbs := map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}
	verb := verbs[r.Method]
	if verb == "" {
		verb = "get"
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch first {
	case "stats", "metrics":
		return verb, []string{first}
	case "logs":
		return verb, []string{"log"}
	case "healthz", "configz", "pods":
		return verb, []string{first, "proxy"}
	case "runningpods":
		return verb, []string{"pods", "proxy"}
	}
	return verb, []string{"proxy"}
}

func (g *guard) authenticate(r *http.Request) (user, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && g.ca != nil {
		return g.certificate(r.TLS.PeerCertificates)
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && token != "" {
		return g.token(r.Context(), token)
	}
	return user{}, errUnauthorized
}

func (g *guard) certificate(chain []*x509.Certificate) (user, error) {
	options := x509.VerifyOptions{Roots: g.ca, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return user{}, fmt.Errorf("verify the client's certificate: %w", err)
	}
	return user{chain[0].Subject.CommonName, append(chain[0].Subject.Organization, "system:authenticated")}, nil
}

func (g *guard) token(ctx context.Context, token string) (user, error) {
	key := "token\x00" + token
	if v, ok := g.recall(key); ok {
		return v.user, nil
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	out := &authenticationv1.TokenReview{}
	if err := g.client.Authentication().Post().Resource("tokenreviews").Body(review).Do(ctx).Into(out); err != nil {
		return user{}, fmt.Errorf("have a token reviewed: %w", err)
	}
	if !out.Status.Authenticated {
		return user{}, errUnauthorized
	}
	who := user{out.Status.User.Username, out.Status.User.Groups}
	g.store(key, verdict{allowed: true, user: who, until: time.Now().Add(tokenFor)})
	return who, nil
}

func (g *guard) authorize(ctx context.Context, who user, verb, subresource string) (bool, error) {
	key := strings.Join(append([]string{"access", who.name, verb, subresource}, who.groups...), "\x00")
	if v, ok := g.recall(key); ok {
		return v.allowed, nil
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: who.name, Groups: who.groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: subresource, Name: g.node}}}
	out := &authorizationv1.SubjectAccessReview{}
	if err := g.client.Authorization().Post().Resource("subjectaccessreviews").Body(review).Do(ctx).Into(out); err != nil {
		return false, fmt.Errorf("ask the API server: %w", err)
	}
	until := time.Now().Add(deniedFor)
	if out.Status.Allowed {
		until = time.Now().Add(allowedFor)
	}
	g.store(key, verdict{allowed: out.Status.Allowed, until: until})
	return out.Status.Allowed, nil
}

func (g *guard) recall(key string) (verdict, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.known[key]
	return v, ok && time.Now().Before(v.until)
}

func (g *guard) store(key string, v verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= maxAnswers {
		clear(g.known)
	}
	g.known[key] = v
}
