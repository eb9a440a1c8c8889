// SPDX-License-Identifier: Apache-2.0

package environment

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

var errNoKey = errors.New("couldn't find key")

func noKey(key, kind, namespace, name string) error {
	return fmt.Errorf("%w %v in %s %v/%v", errNoKey, key, kind, namespace, name)
}

// optional forgives what is missing where the reference says that it may be. An API server that does not answer is never forgiven:
// the container would start with half of its environment.
func optional(allowed *bool, err error) error {
	if allowed != nil && *allowed && (errors.Is(err, errNoKey) || apierrors.IsNotFound(err)) {
		return nil
	}
	return err
}
