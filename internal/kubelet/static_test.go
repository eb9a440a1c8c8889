// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func (w *world) manifest(file, text string) {
	w.t.Helper()
	// As an editor does it: a name of its own first, which does not count, and then the file's.
	part := filepath.Join(w.config.StaticPodPath, "."+file)
	if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(part, filepath.Join(w.config.StaticPodPath, file)); err != nil {
		w.t.Fatal(err)
	}
}

func manifestOf(name, image string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: %s
    volumeMounts: [{name: scratch, mountPath: /scratch}]
    readinessProbe: {exec: {command: [check]}}
  volumes: [{name: scratch}]
`, name, name, image)
}

// starts counts the starts of containers, and how many ran at most at one time.
type starts struct{ all, most atomic.Int32 }

func worldWithManifests(t *testing.T) (*world, *starts) {
	t.Helper()
	w, s := newWorld(t), &starts{}
	w.config.StaticPodPath = t.TempDir()
	w.cri.OnStart = func(string, string) {
		s.all.Add(1)
		s.most.Store(max(s.most.Load(), int32(len(w.cri.Running("main")))))
	}
	return w, s
}

// A pod of the folder runs, and the API shows it, whatever happens to what it shows; it ends with its file.
func TestStaticPod(t *testing.T) {
	w, seen := worldWithManifests(t)
	w.manifest("web.yaml", manifestOf("web", "app:1"))
	w.manifest("broken.yaml", "kind: [")
	w.manifest("service.yaml", "{apiVersion: v1, kind: Service, metadata: {name: x}}")
	w.start()
	mirror := w.ready("web-n1")
	owner := mirror.OwnerReferences
	if mirror.Annotations["kubernetes.io/config.source"] != "file" || mirror.Annotations[corev1.MirrorPodAnnotationKey] == "" ||
		len(owner) != 1 || owner[0].Kind != "Node" || owner[0].Name != "n1" || owner[0].UID != w.api.Get("nodes", "", "n1").(*corev1.Node).UID {
		t.Errorf("its mirror is %+v", mirror.ObjectMeta)
	}
	if mirror.Status.PodIP == "" || mirror.Status.Phase != corev1.PodRunning {
		t.Errorf("its status is %+v", mirror.Status)
	}

	w.delete("web-n1")
	w.until("web-n1", "shown again", func(p *corev1.Pod) bool { return p.UID != mirror.UID && isPodReady(p) })
	w.api.Drop("pods", "default", "web-n1")
	again := w.until("web-n1", "shown again", func(p *corev1.Pod) bool { return isPodReady(p) })
	w.restart()
	w.create(newPod("other", nil))
	w.ready("other")
	if got := w.ready("web-n1"); seen.all.Load() != 2 || got.Status.ContainerStatuses[0].ContainerID != again.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("%d starts of two containers; it is %s, and was %s", seen.all.Load(), got.Status.ContainerStatuses[0].ContainerID, again.Status.ContainerStatuses[0].ContainerID)
	}

	// A file that is half written keeps its pod; one that has changed stands for another, which starts when the first has ended.
	w.manifest("web.yaml", manifestOf("web", "app:1")[:80])
	w.manifest("more.yaml", manifestOf("more", "app:1"))
	w.ready("more-n1")
	if p := w.ready("web-n1"); p.Status.ContainerStatuses[0].ContainerID != again.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("a half written file made it %s", p.Status.ContainerStatuses[0].ContainerID)
	}
	w.manifest("web.yaml", manifestOf("web", "other:1"))
	w.until("web-n1", "of the new image", func(p *corev1.Pod) bool { return isPodReady(p) && p.Status.ContainerStatuses[0].Image == "other:1" })
	if seen.most.Load() > 3 { // other, more, and one web
		t.Error("the changed pod started beside the earlier one")
	}

	if err := os.Remove(filepath.Join(w.config.StaticPodPath, "web.yaml")); err != nil {
		t.Fatal(err)
	}
	w.gone("web-n1")
	w.eventually("it has ended", func() bool { return len(w.cri.Running("main")) == 2 })
}

// A file that goes while no kubelet runs takes its pod and the mirror along, and one that comes is run.
func TestStaticPodsChangeWhileTheKubeletIsDown(t *testing.T) {
	w, _ := worldWithManifests(t)
	w.manifest("old.yaml", manifestOf("old", "app:1"))
	w.start()
	w.ready("old-n1")
	w.stop()
	if err := os.Remove(filepath.Join(w.config.StaticPodPath, "old.yaml")); err != nil {
		t.Fatal(err)
	}
	w.manifest("new.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"new"},"spec":{"containers":[{"name":"main","image":"app:1"}]}}`)
	w.start()
	w.ready("new-n1")
	w.gone("old-n1")
	w.eventually("only the new one runs", func() bool { s, c := w.cri.Count(); return s == 1 && c == 1 })
}

// What would need the API does not run.
func TestStaticPodsThatReferToTheAPI(t *testing.T) {
	w, _ := worldWithManifests(t)
	for i, with := range []string{
		`"serviceAccountName":"x",`, `"imagePullSecrets":[{"name":"x"}],`, `"volumes":[{"name":"v","secret":{"secretName":"x"}}],`,
		`"volumes":[{"name":"v","configMap":{"name":"x"}}],`, `"unknown":1,`,
	} {
		w.manifest(fmt.Sprintf("%d.json", i), fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p%d"},"spec":{%s"containers":[{"name":"main","image":"app:1"}]}}`, i, with))
	}
	w.manifest("env.yaml", strings.Replace(manifestOf("env", "app:1"), "image: app:1", "image: app:1\n    envFrom: [{configMapRef: {name: x}}]", 1))
	w.manifest("good.yaml", manifestOf("good", "app:1"))
	w.start()
	w.ready("good-n1")
	if s, _ := w.cri.Count(); s != 1 {
		t.Errorf("%d pods run", s)
	}
}
