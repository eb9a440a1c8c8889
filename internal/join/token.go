// SPDX-License-Identifier: Apache-2.0

// Package join holds the token with which a node joins a cluster.
//
// The token is a Kubernetes bootstrap token (ID.SECRET, kept as a Secret in kube-system) with the hash of the cluster's
// certificate authority behind it, so that the node can tell the right server from a wrong one before it sends the
// secret part: ID.SECRET.HASH.
package join

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Token lets a node ask for a certificate of its own.
type Token struct {
	ID            string            // 6 characters of a-z0-9, public
	Secret        string            // 16 characters of a-z0-9
	AuthorityHash [sha256.Size]byte // SHA-256 of the public key of the cluster's certificate authority
}

var part = regexp.MustCompile(`^[a-z0-9]+$`)

// New makes a random token for the authority with the given hash.
func New(authority [sha256.Size]byte) Token {
	return Token{ID: random(6), Secret: random(16), AuthorityHash: authority}
}

// Parse reads a token as String writes it; white space around it is ignored.
func Parse(text string) (Token, error) {
	fields := strings.Split(strings.TrimSpace(text), ".")
	if len(fields) != 3 || len(fields[0]) != 6 || len(fields[1]) != 16 || !part.MatchString(fields[0]+fields[1]) {
		return Token{}, errors.New("parse join token: expected ID.SECRET.HASH, as the server writes it to its file token")
	}
	token := Token{ID: fields[0], Secret: fields[1]}
	hash, err := hex.DecodeString(fields[2])
	if err != nil || copy(token.AuthorityHash[:], hash) != len(hash) || len(hash) != sha256.Size {
		return Token{}, fmt.Errorf("parse join token: the third part must be %d hexadecimal digits", 2*sha256.Size)
	}
	return token, nil
}

// String returns the token as Parse reads it. It holds the secret: it is not for logs.
func (t Token) String() string {
	return t.Bearer() + "." + hex.EncodeToString(t.AuthorityHash[:])
}

// Bearer returns the part that authenticates to the API server, a Kubernetes bootstrap token.
func (t Token) Bearer() string { return t.ID + "." + t.Secret }

func random(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	out := make([]byte, 0, n)
	buffer := make([]byte, 1)
	for len(out) < n {
		rand.Read(buffer)
		// 252 is the largest multiple of 36 in a byte; what is above would favour the first letters.
		if buffer[0] < 252 {
			out = append(out, letters[buffer[0]%36])
		}
	}
	return string(out)
}
