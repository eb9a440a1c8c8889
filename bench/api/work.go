// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	protobuf = runtime.ContentTypeProtobuf
	asJSON   = runtime.ContentTypeJSON
)

// client makes a client with connections of its own, without a limit to its rate.
func (p *processes) client(encoding string) (kubernetes.Interface, error) {
	config := rest.CopyConfig(p.admin)
	config.QPS, config.ContentType, config.AcceptContentTypes = -1, encoding, encoding
	// Clients would share one connection otherwise, and wait for each other in it.
	config.Dial = new(net.Dialer).DialContext
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfigAndClient(config, transport)
}

func service(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "https", Port: 443}}},
	}
}

// inParallel calls work for 0 to n-1, with one client for each of several workers.
func (p *processes) inParallel(clients, n int, work func(kubernetes.Interface, int) error) error {
	next := make(chan int)
	errs := make([]error, clients)
	var workers sync.WaitGroup
	for w := range clients {
		client, err := p.client(protobuf)
		if err != nil {
			return err
		}
		workers.Go(func() {
			for i := range next {
				if errs[w] == nil {
					errs[w] = work(client, i)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	return errors.Join(errs...)
}

// writeRate creates Services and deletes them again. One pair counts as one.
func (o options) writeRate(ctx context.Context, p *processes, r result) error {
	before, err := p.cpu()
	if err != nil {
		return err
	}
	begin := time.Now()
	err = p.inParallel(o.clients, o.writes, func(client kubernetes.Interface, i int) error {
		name := fmt.Sprintf("write-%d", i)
		if _, err := client.CoreV1().Services("default").Create(ctx, service(name), metav1.CreateOptions{}); err != nil {
			return err
		}
		return client.CoreV1().Services("default").Delete(ctx, name, metav1.DeleteOptions{})
	})
	r["create and delete, 1/s"] = float64(o.writes) / time.Since(begin).Seconds()
	after, errAfter := p.cpu()
	r["create and delete, CPU ms"] = float64((after - before).Milliseconds()) / float64(o.writes)
	return errors.Join(err, errAfter)
}

func (o options) fill(ctx context.Context, p *processes) error {
	// A write waits for the disk, and many wait together.
	err := p.inParallel(64, o.services, func(client kubernetes.Interface, i int) error {
		_, err := client.CoreV1().Services("default").Create(ctx, service(fmt.Sprintf("service-%d", i)), metav1.CreateOptions{})
		return err
	})
	// What the controllers do about them is not measured here.
	return errors.Join(err, p.quiet(ctx))
}

// quiet waits until the control plane does next to nothing, or a minute: the genuine one is never quite at rest.
func (p *processes) quiet(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); ctx.Err() == nil && time.Now().Before(deadline); {
		before, err := p.cpu()
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		after, err := p.cpu()
		if err != nil {
			return err
		}
		if after-before < 200*time.Millisecond {
			return nil
		}
	}
	return ctx.Err()
}

// cost calls work and notes its time and the servers' processor time, each of one of n.
func (p *processes) cost(r result, what string, n int, work func() error) error {
	before, err := p.cpu()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := work(); err != nil {
		return err
	}
	r[what+", ms"] = float64(time.Since(begin).Microseconds()) / 1000 / float64(n)
	after, err := p.cpu()
	if err != nil {
		return err
	}
	r[what+", CPU ms"] = float64((after - before).Milliseconds()) / float64(n)
	return nil
}

func (o options) listCost(ctx context.Context, p *processes, r result) error {
	for name, encoding := range map[string]string{"list as protobuf": protobuf, "list as JSON": asJSON} {
		client, err := p.client(encoding)
		if err != nil {
			return err
		}
		err = p.cost(r, name, o.lists, func() error {
			for range o.lists {
				// The bytes alone: decoding them is the client's.
				if _, err := client.CoreV1().RESTClient().Get().Namespace("default").Resource("services").Param("resourceVersion", "0").DoRaw(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// watchCost changes one Service again and again while many watch it, until every watcher was told of the last change.
func (o options) watchCost(ctx context.Context, p *processes, r result) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	writer, err := p.client(protobuf)
	if err != nil {
		return err
	}
	last := fmt.Sprint(o.changes - 1)
	var told sync.WaitGroup
	for range o.watchers {
		client, err := p.client(protobuf)
		if err != nil {
			return err
		}
		events, err := client.CoreV1().Services("default").Watch(ctx, metav1.ListOptions{ResourceVersion: "0", FieldSelector: "metadata.name=service-0"})
		if err != nil {
			return err
		}
		told.Go(func() {
			for event := range events.ResultChan() {
				if s, ok := event.Object.(*corev1.Service); ok && s.Annotations["change"] == last {
					return
				}
			}
		})
	}
	return p.cost(r, fmt.Sprintf("a change to %d watchers", o.watchers), o.changes, func() error {
		for i := range o.changes {
			patch := fmt.Sprintf(`{"metadata":{"annotations":{"change":"%d"}}}`, i)
			if _, err := writer.CoreV1().Services("default").Patch(ctx, "service-0", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				return err
			}
		}
		told.Wait()
		return nil
	})
}
