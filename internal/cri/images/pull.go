// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Bounds of a pull: a registry that does not answer fails it instead of holding it.
const (
	connectTimeout = 10 * time.Second
	answerTimeout  = 30 * time.Second
)

// Pull fetches an image for this node's platform, from a mirror of its registry or else from the registry, and names it.
// auth may be nil for none.
func (s *Store) Pull(ctx context.Context, ref string, auth *authn.AuthConfig) (Image, error) {
	parsed, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return Image{}, fmt.Errorf("invalid image reference %q: %w", ref, err)
	}
	mirrors, err := s.Mirrors.of(parsed)
	if err != nil {
		return Image{}, err
	}
	var failed []error
	for _, at := range mirrors {
		record, err := s.pullAt(ctx, parsed, at, authn.Anonymous)
		if err == nil || ctx.Err() != nil {
			return record, err
		}
		failed = append(failed, err)
	}
	keychain := authn.Anonymous
	if auth != nil {
		keychain = authn.FromConfig(*auth)
	}
	record, err := s.pullAt(ctx, parsed, parsed, keychain)
	if err == nil {
		return record, nil
	}
	all := errors.Join(append([]error{err}, failed...)...)
	if isUnavailable(err) {
		return Image{}, &Unavailable{all}
	}
	return Image{}, all
}

// pullAt fetches the image ref from where at says.
func (s *Store) pullAt(ctx context.Context, ref, at name.Reference, auth authn.Authenticator) (Image, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failed := func(err error) (Image, error) {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = cause
		}
		if at != ref {
			return Image{}, fmt.Errorf("pull image %s from mirror %s: %w", full(ref), at.Context().RegistryStr(), err)
		}
		return Image{}, fmt.Errorf("pull image %s: %w", full(ref), err)
	}
	transport := s.registryTransport()
	defer transport.CloseIdleConnections()
	fetched := &meter{}
	desc, err := remote.Get(at, remote.WithContext(ctx), remote.WithAuth(auth),
		remote.WithPlatform(*platform()), remote.WithTransport(&patient{next: transport, cancel: cancel, limit: s.stall, meter: fetched}))
	if err != nil {
		return failed(err)
	}
	img, err := desc.Image()
	if err != nil {
		return failed(err)
	}
	defer s.report(ctx, full(ref), img, fetched)()
	names, digests := pulledNames(ref, desc.Digest)
	record, err := s.add(ctx, img, names, digests)
	if err != nil {
		return failed(err)
	}
	return record, nil
}

// pulledNames are the references that an image answers to after a pull. The digest is the one of the manifest or index
// that the registry answered with, so that pulling by it gives the same again.
func pulledNames(ref name.Reference, digest v1.Hash) (names, digests []string) {
	digests = []string{repository(ref.Context()) + "@" + digest.String()}
	if _, ok := ref.(name.Digest); !ok {
		names = []string{full(ref)}
	}
	return names, digests
}

func (s *Store) registryTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{RootCAs: s.roots},
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       answerTimeout,
		MaxIdleConnsPerHost:   parallelLayers,
	}
}
