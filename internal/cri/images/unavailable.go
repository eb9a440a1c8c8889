// SPDX-License-Identifier: Apache-2.0

package images

import (
	"errors"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Unavailable is a pull that failed because the registry cannot be reached or is out of order, which says nothing about the image.
type Unavailable struct{ Err error }

// Error says what failed.
func (u *Unavailable) Error() string { return u.Err.Error() }

// Unwrap returns what failed.
func (u *Unavailable) Unwrap() error { return u.Err }

// isUnavailable tells a registry that cannot be talked to from one that refuses.
func isUnavailable(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode >= http.StatusInternalServerError
	}
	var network *net.OpError
	var timeout net.Error
	return errors.As(err, &network) || errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, errStalled)
}
