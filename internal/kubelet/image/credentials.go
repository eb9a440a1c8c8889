// SPDX-License-Identifier: Apache-2.0

package image

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type login struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Credential is a login, and the secret that it is from.
type Credential struct {
	Auth   *runtimeapi.AuthConfig
	Secret Secret
}

func credential(secret *corev1.Secret, auth *runtimeapi.AuthConfig) Credential {
	plain, _ := json.Marshal([]string{auth.GetUsername(), auth.GetPassword(), auth.GetIdentityToken(), auth.GetRegistryToken()}) // of strings
	sum := sha256.Sum256(plain)
	return Credential{auth, Secret{UID: string(secret.UID), Namespace: secret.Namespace, Name: secret.Name, Hash: hex.EncodeToString(sum[:])}}
}

// Credentials returns the logins of a secret (kubernetes.io/dockerconfigjson or dockercfg) for the image's registry, the longest
// matching path first where several match.
func Credentials(secret *corev1.Secret, ref string) ([]Credential, error) {
	logins := map[string]login{}
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]login `json:"auths"`
		}
		if err := json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &file); err != nil {
			return nil, fmt.Errorf("read %s of secret %s/%s: %w", corev1.DockerConfigJsonKey, secret.Namespace, secret.Name, err)
		}
		logins = file.Auths
	case corev1.SecretTypeDockercfg:
		if err := json.Unmarshal(secret.Data[corev1.DockerConfigKey], &logins); err != nil {
			return nil, fmt.Errorf("read %s of secret %s/%s: %w", corev1.DockerConfigKey, secret.Namespace, secret.Name, err)
		}
	}
	best, name := "", repository(ref)
	for server := range logins {
		if s := normal(server); (name == s || strings.HasPrefix(name, s+"/")) && (best == "" || len(s) > len(normal(best))) {
			best = server
		}
	}
	if best == "" {
		return nil, nil
	}
	return []Credential{credential(secret, logins[best].config(best))}, nil
}

func (l login) config(server string) *runtimeapi.AuthConfig {
	if l.Username == "" && l.Auth != "" {
		if plain, err := base64.StdEncoding.DecodeString(l.Auth); err == nil {
			l.Username, l.Password, _ = strings.Cut(string(plain), ":")
		}
	}
	return &runtimeapi.AuthConfig{Username: l.Username, Password: l.Password, ServerAddress: server,
		IdentityToken: l.IdentityToken, RegistryToken: l.RegistryToken}
}

// normal reduces a server as people write it to registry and path.
func normal(server string) string {
	server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	server = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(server, "/"), "/v1"), "/v2")
	if server == "index.docker.io" || server == "docker.io" || server == "registry-1.docker.io" {
		return "docker.io"
	}
	return server
}

// repository returns the full name of an image without tag and digest.
func repository(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if slash, colon := strings.LastIndexByte(ref, '/'), strings.LastIndexByte(ref, ':'); colon > slash {
		ref = ref[:colon]
	}
	host, rest, found := strings.Cut(ref, "/")
	switch {
	case !found:
		return "docker.io/library/" + ref
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return "docker.io/" + ref
	}
	return normal(host) + "/" + rest
}
