// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Equal says whether two statuses say the same. The order of conditions says nothing.
func Equal(a, b *corev1.PodStatus) bool {
	return equality.Semantic.DeepEqual(ordered(*a), ordered(*b))
}

func ordered(s corev1.PodStatus) corev1.PodStatus {
	s.Conditions = slices.Clone(s.Conditions)
	slices.SortFunc(s.Conditions, func(x, y corev1.PodCondition) int { return strings.Compare(string(x.Type), string(y.Type)) })
	return s
}
