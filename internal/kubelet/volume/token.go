// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"eastwest/internal/client"
)

// Lifetimes of tokens: what is asked for when the pod does not say, and when a token is renewed at the latest.
const (
	defaultLifetime = int64(3600)
	oldest          = 24 * time.Hour
	renewRetry      = 30 * time.Second // between attempts to renew a token that can still be used
	refusedFor      = 2 * time.Second  // how long a refusal may mean that the API server has not yet seen the pod bound to this node
)

// Tokens asks the API server for service account tokens bound to pods, and renews them at 80 % of their life. Safe for concurrent use.
type Tokens struct {
	client *client.Client
	mu     sync.Mutex
	held   map[tokenKey]heldToken
}

type tokenKey struct {
	uid      types.UID
	audience string
	lifetime int64
}

type heldToken struct {
	text    string
	renewAt time.Time
}

// NewTokens makes a source of tokens.
func NewTokens(c *client.Client) *Tokens { return &Tokens{client: c, held: map[tokenKey]heldToken{}} }

// Get returns a token of the pod's service account for the audience (the API server when empty), that lives for the given seconds.
func (t *Tokens) Get(ctx context.Context, pod *corev1.Pod, audience string, seconds *int64) (string, error) {
	k := tokenKey{pod.UID, audience, defaultLifetime}
	if seconds != nil {
		k.lifetime = *seconds
	}
	t.mu.Lock()
	held, ok := t.held[k]
	t.mu.Unlock()
	if ok && time.Now().Before(held.renewAt) {
		return held.text, nil
	}
	fresh, err := t.request(ctx, pod, k)
	if err != nil && !ok {
		return "", err
	}
	if err != nil { // the one that is held is valid for a fifth of its life
		fresh = heldToken{text: held.text, renewAt: time.Now().Add(renewRetry)}
	}
	t.mu.Lock()
	t.held[k] = fresh
	t.mu.Unlock()
	return fresh.text, nil
}

func (t *Tokens) request(ctx context.Context, pod *corev1.Pod, k tokenKey) (heldToken, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &k.lifetime,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if k.audience != "" {
		request.Spec.Audiences = []string{k.audience}
	}
	account := pod.Spec.ServiceAccountName
	answer := &authenticationv1.TokenRequest{}
	start, wait := time.Now(), 5*time.Millisecond
	for {
		err := t.client.Core().Post().Namespace(pod.Namespace).Resource("serviceaccounts").Name(account).
			SubResource("token").Body(request).Do(ctx).Into(answer)
		if err == nil {
			break
		}
		if !apierrors.IsForbidden(err) || time.Since(start) > refusedFor {
			return heldToken{}, fmt.Errorf("failed to fetch token of service account %s/%s: %w", pod.Namespace, account, err)
		}
		select {
		case <-ctx.Done():
			return heldToken{}, ctx.Err()
		case <-time.After(wait):
			wait *= 2
		}
	}
	life := min(time.Until(answer.Status.ExpirationTimestamp.Time)*8/10, oldest)
	return heldToken{answer.Status.Token, time.Now().Add(life)}, nil
}

func (t *Tokens) renewal(uid types.UID) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	var soonest time.Time
	for k, held := range t.held {
		if k.uid == uid && (soonest.IsZero() || held.renewAt.Before(soonest)) {
			soonest = held.renewAt
		}
	}
	return soonest
}

func (t *Tokens) forget(uid string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.held {
		if string(k.uid) == uid {
			delete(t.held, k)
		}
	}
}
