// SPDX-License-Identifier: Apache-2.0

// Package parity compares cluster DNS with CoreDNS's kubernetes plugin: both watch one API server with generated
// objects and are asked the same questions. Its tests are all it has.
package parity
