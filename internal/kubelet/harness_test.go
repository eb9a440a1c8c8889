// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eastwest/internal/kubelet/apidouble"
	"eastwest/internal/kubelet/cridouble"
)

// world is an API and a runtime, and the kubelet between them, which can be killed and started again.
type world struct {
	t       *testing.T
	api     *apidouble.Server
	cri     *cridouble.Runtime
	dir     string
	config  Config
	stop    func()
	kubelet *Kubelet
}

const patience = 2 * time.Minute

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: volumes in memory are mounted")
	}
	api, err := apidouble.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	w := &world{t: t, api: api, cri: cridouble.New("app:1", "other:1"), dir: t.TempDir()}
	socket := filepath.Join(w.dir, "cri.sock")
	if err := w.cri.Serve(socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cri.Stop)
	cgroups := filepath.Join(w.dir, "cgroup")
	if err := os.MkdirAll(filepath.Join(cgroups, "memory"), 0o755); err != nil {
		t.Fatal(err)
	}
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	w.config = Config{
		NodeName: "n1", NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, RootDir: filepath.Join(w.dir, "kubelet"),
		LogDir: filepath.Join(w.dir, "logs"), RuntimeEndpoint: "unix://" + socket, Client: api.Client, Listen: "127.0.0.1:0",
		ClusterDNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, CgroupMount: cgroups,
		ServingCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil },
		Log:                slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level})),
	}
	w.api.Put("configmaps", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kube-root-ca.crt"},
		Data: map[string]string{"ca.crt": "a certificate"}})
	return w
}

func (w *world) start() {
	w.t.Helper()
	k, err := New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	w.kubelet = k
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("kubelet ended with: %v", err)
		}
	})
	w.t.Cleanup(func() {
		w.stop()
		_ = unmountAll(w)
	})
}

// restart kills the kubelet and starts another.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

func unmountAll(w *world) error {
	uids, err := w.kubelet.volumes.Leftovers()
	for _, uid := range uids {
		err = w.kubelet.volumes.Teardown(uid)
	}
	return err
}

// pod is a pod of one container, as the API stores it.
func newPod(name string, change func(p *corev1.Pod)) *corev1.Pod {
	grace, mode, lifetime := int64(1), int32(0o644), int64(3607)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace, ServiceAccountName: "default",
			DNSPolicy: corev1.DNSClusterFirst,
			Containers: []corev1.Container{{Name: "main", Image: "app:1", ImagePullPolicy: corev1.PullIfNotPresent,
				TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
				VolumeMounts: []corev1.VolumeMount{{Name: "token", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}}}},
			Volumes: []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				DefaultMode: &mode, Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &lifetime}},
					{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
						Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
					{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
						{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
				}}}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	if change != nil {
		change(p)
	}
	return p
}

func (w *world) create(p *corev1.Pod) { w.api.Put("pods", p) }

func (w *world) pod(name string) *corev1.Pod {
	p, _ := w.api.Get("pods", "default", name).(*corev1.Pod)
	return p
}

// until waits for a pod to be as wanted.
func (w *world) until(name, what string, good func(p *corev1.Pod) bool) *corev1.Pod {
	w.t.Helper()
	var last *corev1.Pod
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if last = w.pod(name); last != nil && good(last) {
			return last
		}
	}
	if last == nil {
		w.t.Fatalf("pod %s is gone; wanted: %s", name, what)
	}
	w.t.Fatalf("pod %s never was %s; its status is %+v, its events %v", name, what, last.Status, w.api.Events(name))
	return nil
}

func (w *world) ready(name string) *corev1.Pod {
	w.t.Helper()
	return w.until(name, "ready", isPodReady)
}

func isPodReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// eventually waits for anything else.
func (w *world) eventually(what string, good func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if good() {
			return
		}
	}
	w.t.Fatalf("never: %s", what)
}

func (w *world) delete(name string) {
	w.t.Helper()
	err := w.api.Client.Core().Delete().Namespace("default").Resource("pods").Name(name).Do(context.Background()).Error()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) gone(name string) {
	w.t.Helper()
	w.eventually("pod "+name+" is gone", func() bool { return w.pod(name) == nil })
}

func waitingFor(p *corev1.Pod, reason string) bool {
	for _, c := range append(p.Status.ContainerStatuses, p.Status.InitContainerStatuses...) {
		if c.State.Waiting != nil && c.State.Waiting.Reason == reason {
			return true
		}
	}
	return false
}
