// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Mirrors are the hosts to ask before a registry: by the registry's name, "docker.io" say, in the order of asking. Images
// keep the registry's name. A mirror is never given the credentials of the registry that it stands for.
type Mirrors map[string][]Mirror

// Mirror is a host that serves the repositories of a registry under the same paths.
type Mirror struct {
	Host  string // with a port where it is not the scheme's
	Plain bool   // HTTP, not HTTPS
}

// ParseMirrors reads lines of the form REGISTRY=URL; a registry may have several.
func ParseMirrors(texts []string) (Mirrors, error) {
	mirrors := Mirrors{}
	for _, text := range texts {
		registry, address, ok := strings.Cut(text, "=")
		if !ok || registry == "" || strings.Contains(registry, "/") {
			return nil, fmt.Errorf("read mirror %q: expected REGISTRY=URL, docker.io=https://mirror.example.com say", text)
		}
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" || u.User != nil {
			return nil, fmt.Errorf("read mirror %q: %q is no URL of the form http[s]://HOST[:PORT]", text, address)
		}
		mirrors[registry] = append(mirrors[registry], Mirror{Host: u.Host, Plain: u.Scheme == "http"})
	}
	return mirrors, nil
}

// of returns the references under which to ask for ref at its mirrors.
func (m Mirrors) of(ref name.Reference) ([]name.Reference, error) {
	registry, _, _ := strings.Cut(repository(ref.Context()), "/")
	var out []name.Reference
	for _, mirror := range m[registry] {
		options := []name.Option{name.WeakValidation}
		if mirror.Plain {
			options = append(options, name.Insecure)
		}
		separator := ":"
		if _, ok := ref.(name.Digest); ok {
			separator = "@"
		}
		at, err := name.ParseReference(mirror.Host+"/"+ref.Context().RepositoryStr()+separator+ref.Identifier(), options...)
		if err != nil {
			return nil, fmt.Errorf("name image %s at mirror %s: %w", full(ref), mirror.Host, err)
		}
		out = append(out, at)
	}
	return out, nil
}
