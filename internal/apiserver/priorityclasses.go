// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
)

// priorityClasses provides Kubernetes' own storage of the scheduling group, with the classes of system pods made by a hook
// of ours: Kubernetes' waits a second before it begins, and a server is not ready before it is through.
type priorityClasses struct {
	schedulingrest.RESTStorageProvider
}

// PostStartHook returns a hook under the name that people find in /readyz.
func (priorityClasses) PostStartHook() (string, genericapiserver.PostStartHookFunc, error) {
	return schedulingrest.PostStartHookName, ensurePriorityClasses, nil
}

// ensurePriorityClasses makes the classes that are not there.
func ensurePriorityClasses(hook genericapiserver.PostStartHookContext) error {
	client, err := kubernetes.NewForConfig(hook.LoopbackClientConfig)
	if err != nil {
		return fmt.Errorf("make client for priority classes: %w", err)
	}
	ctx, cancel := context.WithTimeout(hook, startPatience)
	defer cancel()
	for _, class := range schedulingv1.SystemPriorityClasses() {
		err := patiently(ctx, func() error {
			_, err := client.SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("ensure priority class %s: %w", class.Name, err)
		}
	}
	return nil
}
