// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

const fieldManager = "eastwest-demo"

// apply writes the Deployment and the Service, server-side, and returns the Service with its address.
func (d *Demo) apply(ctx context.Context) (*corev1.Service, error) {
	force := true
	options := metav1.PatchOptions{FieldManager: fieldManager, Force: &force}
	body, err := yaml.YAMLToJSON(deploymentYAML)
	if err != nil {
		return nil, err
	}
	name := d.manifests.deployment.Name
	_, err = d.client.AppsV1().Deployments(d.config.Namespace).Patch(ctx, name, types.ApplyPatchType, body, options)
	if err != nil {
		return nil, fmt.Errorf("apply Deployment %s/%s: %w", d.config.Namespace, name, err)
	}
	if body, err = yaml.YAMLToJSON(serviceYAML); err != nil {
		return nil, err
	}
	name = d.manifests.service.Name
	service, err := d.client.CoreV1().Services(d.config.Namespace).Patch(ctx, name, types.ApplyPatchType, body, options)
	if err != nil {
		return nil, fmt.Errorf("apply Service %s/%s: %w", d.config.Namespace, name, err)
	}
	return service, nil
}

// startClients makes the client pods that are not there. One that ended, by itself or by a node's restart, is replaced.
func (d *Demo) startClients(ctx context.Context, nodes []corev1.Node) error {
	var errs []error
	for _, node := range nodes {
		errs = append(errs, d.startClient(ctx, node.Name))
	}
	return errors.Join(errs...)
}

func (d *Demo) startClient(ctx context.Context, node string) error {
	pods := d.client.CoreV1().Pods(d.config.Namespace)
	want := d.manifests.clientOn(node)
	have, err := pods.Get(ctx, want.Name, metav1.GetOptions{})
	if err == nil && have.Spec.NodeName == node && !ended(have) {
		return nil
	}
	if err == nil {
		if err = d.deletePod(ctx, have); err != nil {
			return err
		}
	} else if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look up Pod %s/%s: %w", want.Namespace, want.Name, err)
	}
	if _, err := pods.Create(ctx, want, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
		return fmt.Errorf("create Pod %s/%s: %w", want.Namespace, want.Name, err)
	}
	return nil
}

func ended(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// deletePod deletes a pod and waits until its name is free.
func (d *Demo) deletePod(ctx context.Context, pod *corev1.Pod) error {
	err := d.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *metav1.NewPreconditionDeleteOptions(string(pod.UID)))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return d.untilPods(ctx, "metadata.name="+pod.Name, "", func(pods []corev1.Pod) bool {
		return len(pods) == 0 || pods[0].UID != pod.UID
	})
}

// Cleanup deletes everything that Run makes. What is not there is no error.
func (d *Demo) Cleanup(ctx context.Context) error {
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	namespace := d.config.Namespace
	err := errors.Join(
		removed("Service", &d.manifests.service, d.client.CoreV1().Services(namespace).Delete(ctx, d.manifests.service.Name, options)),
		removed("Deployment", &d.manifests.deployment, d.client.AppsV1().Deployments(namespace).Delete(ctx, d.manifests.deployment.Name, options)),
	)
	pods, listErr := d.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: clientSelector})
	if listErr != nil {
		return errors.Join(err, fmt.Errorf("list client pods: %w", listErr))
	}
	for _, pod := range pods.Items {
		err = errors.Join(err, removed("Pod", &pod, d.client.CoreV1().Pods(namespace).Delete(ctx, pod.Name, options)))
	}
	return err
}

func removed(kind string, object metav1.Object, err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("delete %s %s/%s: %w", kind, object.GetNamespace(), object.GetName(), err)
}

// unmarshal reads the JSON that a program printed; what else it printed helps to see why it is none.
func unmarshal(what string, out []byte, into any) error {
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("read what %s printed (%.200q): %w", what, out, err)
	}
	return nil
}
