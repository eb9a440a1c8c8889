// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestImageVolume(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("web")
	sb := n.runSandbox(pod)
	volume := func(name string, readOnly bool, path string) *runtimeapi.ContainerConfig {
		cfg := containerConfig(name, "serve")
		cfg.Mounts = []*runtimeapi.Mount{{ContainerPath: "/volume", Image: &runtimeapi.ImageSpec{Image: "test.local/pod"}, Readonly: readOnly, ImageSubPath: path}}
		return cfg
	}
	img, err := n.server.images.Get("test.local/pod")
	if err != nil {
		t.Fatal(err)
	}
	id := n.run(sb, volume("main", true, ""), pod)
	if out, code := n.exec(id, "write", "/volume/new"); code == 0 || !strings.Contains(out, "read-only file system") {
		t.Errorf("write to an image: %d %q", code, out)
	}
	if out, code := n.exec(id, "cat", "/volume/none"); code == 0 || !strings.Contains(out, "no such file") {
		t.Errorf("read what an image does not have: %d %q", code, out)
	}
	for range 2 { // the second time after a restart
		if mounts := n.status(id).GetMounts(); len(mounts) != 1 || mounts[0].GetImage().GetImageRef() != img.ID {
			t.Errorf("mounts in the status: %v, want one of %s", mounts, img.ID)
		}
		n.halt()
		n.start()
	}
	for _, bad := range []struct {
		config *runtimeapi.ContainerConfig
		want   string
	}{
		{volume("writable", false, ""), "an image is mounted read-only"},
		{volume("missing", true, "none"), `path "none" in image test.local/pod`},
	} {
		_, err := n.runtime.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: sb, Config: bad.config, SandboxConfig: pod})
		if err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("create: %v, want %q", err, bad.want)
		}
	}
}
