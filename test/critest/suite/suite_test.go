// SPDX-License-Identifier: Apache-2.0

// Package suite is the CRI validation suite, as cri-tools' own program critest has it, less what starts it in parallel.
package suite

import (
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"sigs.k8s.io/cri-tools/pkg/framework"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)

func init() { framework.RegisterFlags() }

func TestCRI(t *testing.T) {
	gomega.RegisterFailHandler(ginkgo.Fail)
	ginkgo.RunSpecs(t, "CRI validation")
}
