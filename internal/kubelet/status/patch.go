// SPDX-License-Identifier: Apache-2.0

package status

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Patch returns the strategic merge patch that makes a pod's status the wanted one. Conditions of others stay: the API merges
// conditions by type. Everything else is replaced, with null for what went away. The UID makes the patch fail on a namesake.
func Patch(uid types.UID, want *corev1.PodStatus) ([]byte, error) {
	raw, err := json.Marshal(want)
	if err != nil {
		return nil, fmt.Errorf("encode a pod status: %w", err)
	}
	var status map[string]any
	if err := json.Unmarshal(raw, &status); err != nil {
		return nil, fmt.Errorf("encode a pod status: %w", err)
	}
	for _, field := range []string{"message", "reason", "podIP", "initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"} {
		if _, set := status[field]; !set {
			status[field] = nil
		}
	}
	for _, field := range []string{"podIPs", "hostIPs"} {
		list, _ := status[field].([]any)
		status[field] = append(list, map[string]any{"$patch": "replace"})
	}
	for _, c := range list(status["conditions"]) {
		for _, field := range []string{"reason", "message"} {
			if _, set := c[field]; !set {
				c[field] = nil
			}
		}
	}
	conditions, _ := status["conditions"].([]any)
	for _, kind := range passing {
		if !slices.ContainsFunc(want.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind }) {
			conditions = append(conditions, map[string]any{"type": kind, "$patch": "delete"})
		}
	}
	status["conditions"] = conditions
	delete(status, "nominatedNodeName")
	delete(status, "resize")
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid}, "status": status})
}

func list(value any) []map[string]any {
	items, _ := value.([]any)
	out := make([]map[string]any, 0, len(items))
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}
