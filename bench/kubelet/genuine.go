// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eastwest/bench/reference"
)

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
serverTLSBootstrap: true
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /etc/kubernetes/ca.crt}}
authorization: {mode: Webhook}
evictionHard: {memory.available: 10Mi, nodefs.available: 10Mi, imagefs.available: 10Mi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
`

const bootstrapConfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: {token: TOKEN}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

const network = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`

// beginKubelet starts containerd and the kubelet on a node, detached, with their logs in /var/log.
const beginKubelet = `export PATH="$2:$PATH"
umask 077
sed "s/TOKEN/$(cut -d. -f1,2 /var/lib/eastwest/agent/token)/" /etc/kubernetes/bootstrap.template >/etc/kubernetes/bootstrap.conf
setsid containerd -c /var/lib/eastwest/containerd.toml >>/var/log/containerd.log 2>&1 </dev/null &
while ! ctr version >/dev/null 2>&1; do sleep 0.1; done
setsid kubelet --config /etc/kubernetes/kubelet.yaml --kubeconfig /etc/kubernetes/kubelet.conf --bootstrap-kubeconfig /etc/kubernetes/bootstrap.conf \
	--hostname-override "$(hostname)" --node-ip "$1" --cert-dir /var/lib/kubelet/pki >>/var/log/kubelet.log 2>&1 </dev/null &`

// switches are what a kubelet sets of the whole machine.
var switches = []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"}

// replaceKubelets runs Kubernetes' kubelet with the reference plugins on the workers, in place of our agent.
func (c *cluster) replaceKubelets(ctx context.Context, workers []localNode) error {
	plugins, err := buildPlugins()
	if err != nil {
		return err
	}
	defer os.RemoveAll(plugins)
	before := map[string][]byte{}
	for _, file := range switches {
		before[file], _ = os.ReadFile(filepath.Join("/proc/sys", file))
	}
	for _, worker := range workers {
		if err := c.replaceKubelet(ctx, worker, plugins); err != nil {
			return err
		}
	}
	for file, value := range before {
		if err := os.WriteFile(filepath.Join("/proc/sys", file), value, 0); err != nil {
			return fmt.Errorf("restore %s: %w", file, err)
		}
	}
	return nil
}

func (c *cluster) replaceKubelet(ctx context.Context, worker localNode, plugins string) error {
	if err := command(c.options, "node", "stop", "--name", c.name, worker.Name); err != nil {
		return err
	}
	if err := c.client.CoreV1().Nodes().Delete(ctx, worker.Name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete node %s: %w", worker.Name, err)
	}
	const clean = `nft flush ruleset; rm -rf /etc/cni/net.d/* /opt/cni/bin/* /var/lib/kubelet; mkdir -p /etc/kubernetes`
	if err := c.inside(worker.Name, clean, nil); err != nil {
		return err
	}
	files := map[string][]byte{
		"/etc/kubernetes/ca.crt": c.config.CAData, "/etc/kubernetes/kubelet.yaml": []byte(kubeletConfig),
		"/etc/kubernetes/bootstrap.template": fmt.Appendf(nil, bootstrapConfig, c.config.Host, base64.StdEncoding.EncodeToString(c.config.CAData)),
	}
	for _, plugin := range []string{"ptp", "loopback", "host-local", "portmap"} {
		content, err := os.ReadFile(filepath.Join(plugins, plugin))
		if err != nil {
			return err
		}
		files["/opt/cni/bin/"+plugin] = content
	}
	for path, content := range files {
		if err := c.inside(worker.Name, `cat >"$1" && chmod 755 "$1"`, content, path); err != nil {
			return err
		}
	}
	if err := c.inside(worker.Name, beginKubelet, nil, worker.Address, filepath.Join(c.bin, "runtimes")); err != nil {
		return err
	}
	return c.awaitKubelet(ctx, worker.Name)
}

// awaitKubelet gives the node its network as soon as it has a range for its pods, and waits until it is Ready.
func (c *cluster) awaitKubelet(ctx context.Context, node string) error {
	given := false
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		seen, err := c.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil || seen.Spec.PodCIDR == "" {
			continue
		}
		if !given {
			if err := c.inside(node, `cat >/etc/cni/net.d/10-pods.conflist`, fmt.Appendf(nil, network, seen.Spec.PodCIDR)); err != nil {
				return err
			}
			given = true
		}
		for _, condition := range seen.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
	}
	return fmt.Errorf("the kubelet of node %s is not Ready after %s; see /var/log/kubelet.log there", node, patience)
}

// buildPlugins builds the reference CNI plugins into a folder of their own.
func buildPlugins() (string, error) {
	dir, err := os.MkdirTemp("", "eastwest-bench-plugins-")
	if err != nil {
		return "", err
	}
	return dir, reference.Build(dir, "main/ptp", "main/loopback", "ipam/host-local", "meta/portmap")
}
