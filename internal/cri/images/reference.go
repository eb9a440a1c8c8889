// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Normalize writes an image reference in full, the way Kubernetes and Docker understand short ones: "nginx" is
// "docker.io/library/nginx:latest". A reference with both a tag and a digest is the digest's.
func Normalize(ref string) (string, error) {
	parsed, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return "", fmt.Errorf("invalid image reference %q: %w", ref, err)
	}
	return full(parsed), nil
}

func full(ref name.Reference) string {
	repo := repository(ref.Context())
	if d, ok := ref.(name.Digest); ok {
		return repo + "@" + d.DigestStr()
	}
	return repo + ":" + ref.Identifier()
}

// repository names docker.io by the name that people use; the library knows it as index.docker.io.
func repository(r name.Repository) string {
	registry := r.RegistryStr()
	if registry == name.DefaultRegistry {
		registry = "docker.io"
	}
	return registry + "/" + strings.TrimPrefix(r.RepositoryStr(), "/")
}
