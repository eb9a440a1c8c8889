// SPDX-License-Identifier: Apache-2.0

// Package failing shows that a failure inside of the machine is a failure outside.
package failing

import "testing"

func TestFails(t *testing.T) { t.Error("this test always fails") }
