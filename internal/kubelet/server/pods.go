// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eastwest/internal/kubelet/pod"
	"eastwest/internal/kubelet/podstate"
)

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, v := range s.config.Pods.Views() {
		list.Items = append(list.Items, *v.Pod)
	}
	answer(w, list)
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	value, err := s.config.Summary(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, value)
}

// find answers with 404 itself when there is no such pod.
func (s *Server) find(w http.ResponseWriter, r *http.Request) (pod.View, bool) {
	namespace, name := r.PathValue("namespace"), r.PathValue("pod")
	v, ok := s.config.Pods.Find(namespace, name, r.PathValue("uid"))
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q in namespace %q not found on node %s", name, namespace, s.config.NodeName), http.StatusNotFound)
	}
	return v, ok
}

// running returns the running container of that name, and answers itself when there is none.
func running(w http.ResponseWriter, v pod.View, name string) *podstate.Container {
	if c := v.State.Latest(name); c != nil && c.Running() {
		return c
	}
	http.Error(w, fmt.Sprintf("container %q of pod %s/%s is not running", name, v.Pod.Namespace, v.Pod.Name), http.StatusInternalServerError)
	return nil
}
