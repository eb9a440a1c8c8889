// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
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

// Pull fetches an image for this node's platform from its registry and names it. auth may be nil for none.
func (s *Store) Pull(ctx context.Context, ref string, auth *authn.AuthConfig) (Image, error) {
	parsed, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return Image{}, fmt.Errorf("invalid image reference %q: %w", ref, err)
	}
	keychain := authn.Anonymous
	if auth != nil {
		keychain = authn.FromConfig(*auth)
	}
	transport := registryTransport()
	defer transport.CloseIdleConnections()
	desc, err := remote.Get(parsed, remote.WithContext(ctx), remote.WithAuth(keychain),
		remote.WithPlatform(*platform()), remote.WithTransport(transport))
	if err != nil {
		return Image{}, fmt.Errorf("pull image %s: %w", full(parsed), err)
	}
	img, err := desc.Image()
	if err != nil {
		return Image{}, fmt.Errorf("pull image %s: %w", full(parsed), err)
	}
	names, digests := pulledNames(parsed, desc.Digest)
	record, err := s.add(ctx, img, names, digests)
	if err != nil {
		return Image{}, fmt.Errorf("pull image %s: %w", full(parsed), err)
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

func registryTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       answerTimeout,
		MaxIdleConnsPerHost:   parallelLayers,
	}
}
