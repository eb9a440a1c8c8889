// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestRefusal(t *testing.T) {
	with := func(names ...string) corev1.PodSpec {
		context := &corev1.PodSecurityContext{}
		for _, name := range names {
			context.Sysctls = append(context.Sysctls, corev1.Sysctl{Name: name, Value: "1"})
		}
		return corev1.PodSpec{SecurityContext: context}
	}
	hostNetwork, hostIPC := with("net.ipv4.tcp_syncookies"), with("kernel.shm_rmid_forced")
	hostNetwork.HostNetwork, hostIPC.HostIPC = true, true
	for _, test := range []struct {
		name            string
		spec            corev1.PodSpec
		unsafe          []string
		reason, message string
	}{
		{"nothing special", corev1.PodSpec{}, nil, "", ""},
		{"linux", corev1.PodSpec{OS: &corev1.PodOS{Name: corev1.Linux}}, nil, "", ""},
		{"windows", corev1.PodSpec{OS: &corev1.PodOS{Name: corev1.Windows}}, nil, "PodOSNotSupported", "OS field"},
		{"safe", with("kernel.shm_rmid_forced", "net/ipv4/tcp_syncookies"), nil, "", ""},
		{"unsafe", with("kernel.shm_rmid_forced", "kernel.msgmax"), nil, "SysctlForbidden", `"kernel.msgmax" not allowlisted`},
		{"unsafe, and allowed", with("kernel.msgmax", "net.core.somaxconn"), []string{"kernel.msgmax", "net.core.*"}, "", ""},
		{"unsafe, and another allowed", with("kernel.sem"), []string{"kernel.msg*"}, "SysctlForbidden", `"kernel.sem"`},
		{"of the host's network", hostNetwork, nil, "SysctlForbidden", "host net"},
		{"of the host's IPC", hostIPC, nil, "SysctlForbidden", "host ipc"},
		{"of groups that the runtime cannot leave out", corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{SupplementalGroupsPolicy: new(corev1.SupplementalGroupsPolicyStrict)}}, nil,
			"SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node"},
	} {
		reason, message := refusal(&corev1.Pod{Spec: test.spec}, test.unsafe, false)
		if reason != test.reason || !strings.Contains(message, test.message) {
			t.Errorf("%s: %s, %q; want %s, %q", test.name, reason, message, test.reason, test.message)
		}
	}
}
