// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"

	"eastwest/internal/client"
)

// awaitNodes watches Nodes until every one of the record is Ready.
func awaitNodes(ctx context.Context, target ReadyTarget) error {
	config, err := clientcmd.BuildConfigFromFlags("", target.Kubeconfig)
	if err != nil {
		return fmt.Errorf("read the server's kubeconfig: %w", err)
	}
	api, err := client.New(config)
	if err != nil {
		return err
	}
	seen := readiness{target: target, problems: map[string]string{}}
	for _, node := range target.Nodes {
		seen.problems[node.Name] = "not registered"
	}
	for {
		err := seen.follow(ctx, api)
		if err == nil {
			return labelControlPlane(ctx, api, target)
		}
		select {
		case <-ctx.Done():
			return seen.error(err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// labelControlPlane gives the first node its role, as kubectl shows it. A node may not give it to itself.
func labelControlPlane(ctx context.Context, api *client.Client, target ReadyTarget) error {
	name := target.Record.ControlPlane().Name
	if !slices.ContainsFunc(target.Nodes, func(n Node) bool { return n.Name == name }) {
		return nil
	}
	patch := `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`
	if err := api.Core().Patch(types.MergePatchType).Resource("nodes").Name(name).Body([]byte(patch)).Do(ctx).Error(); err != nil {
		return fmt.Errorf("label node %s: %w", name, err)
	}
	return nil
}

// readiness is what is known of the nodes: a problem for each that is not Ready.
type readiness struct {
	target   ReadyTarget
	problems map[string]string
	reported int
}

// follow lists and watches once, and returns nil when all nodes are Ready.
func (s *readiness) follow(ctx context.Context, api *client.Client) error {
	var nodes corev1.NodeList
	if err := api.Core().Get().Resource("nodes").Do(ctx).Into(&nodes); err != nil {
		return err
	}
	for i := range nodes.Items {
		s.see(&nodes.Items[i])
	}
	if len(s.problems) == 0 {
		return nil
	}
	options := metav1.ListOptions{Watch: true, ResourceVersion: nodes.ResourceVersion}
	events, err := api.Core().Get().Resource("nodes").VersionedParams(&options, api.Parameters()).Watch(ctx)
	if err != nil {
		return err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		node, ok := event.Object.(*corev1.Node)
		if !ok || event.Type == apiwatch.Deleted {
			continue
		}
		if s.see(node); len(s.problems) == 0 {
			return nil
		}
	}
	return fmt.Errorf("the watch on nodes ended")
}

func (s *readiness) see(node *corev1.Node) {
	if _, waited := s.problems[node.Name]; !waited {
		return
	}
	s.problems[node.Name] = "no Ready condition yet"
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		s.problems[node.Name] = strings.TrimSpace(condition.Reason + " " + condition.Message)
		if condition.Status == corev1.ConditionTrue {
			delete(s.problems, node.Name)
		}
	}
	all := len(s.target.Nodes)
	if ready := all - len(s.problems); ready > s.reported {
		s.reported = ready
		s.target.Progress(fmt.Sprintf("%d of %s ready", ready, count(all, "node")))
	}
}

// error names every node that is not Ready, with its reason.
func (s *readiness) error(last error) error {
	var waiting []string
	for _, node := range s.target.Nodes {
		if problem, ok := s.problems[node.Name]; ok {
			waiting = append(waiting, fmt.Sprintf("node %s is not Ready (%s)", node.Name, problem))
		}
	}
	return fmt.Errorf("%s; last answer of the API server %s: %w", strings.Join(waiting, "; "), s.target.Record.Server(), last)
}
