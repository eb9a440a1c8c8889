// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"eastwest/internal/client"
)

// patience is how long a reader waits for the first good answer about an object that is refused, not absent.
const patience = 3 * time.Second

// Cache follows the config maps and secrets that pods use. Safe for concurrent use.
type Cache struct {
	ctx     context.Context
	client  *client.Client
	changed func(uid string)
	mu      sync.Mutex
	entries map[Reference]*entry
	users   map[string]map[Reference]bool // by pod UID
}

type entry struct {
	users  map[string]bool
	cancel context.CancelFunc
	object runtime.Object
	err    error
	news   chan struct{} // closed at the next change
}

// NewCache makes an empty cache whose watches end with ctx. changed is called, on any goroutine, with the UID of each pod that
// uses an object which changed.
func NewCache(ctx context.Context, c *client.Client, changed func(uid string)) *Cache {
	return &Cache{ctx: ctx, client: c, changed: changed, entries: map[Reference]*entry{}, users: map[string]map[Reference]bool{}}
}

// ConfigMap returns a config map that the pod uses, and follows it until Release.
func (c *Cache) ConfigMap(ctx context.Context, uid, namespace, name string) (*corev1.ConfigMap, error) {
	object, err := c.read(ctx, uid, Reference{"configmaps", namespace, name})
	if err != nil {
		return nil, err
	}
	return object.(*corev1.ConfigMap), nil
}

// Secret returns a secret that the pod uses, and follows it until Release.
func (c *Cache) Secret(ctx context.Context, uid, namespace, name string) (*corev1.Secret, error) {
	object, err := c.read(ctx, uid, Reference{"secrets", namespace, name})
	if err != nil {
		return nil, err
	}
	return object.(*corev1.Secret), nil
}

// Release ends the pod's use of everything; objects that no pod uses are forgotten.
func (c *Cache) Release(uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ref := range c.users[uid] {
		e := c.entries[ref]
		delete(e.users, uid)
		if len(e.users) == 0 {
			e.cancel()
			delete(c.entries, ref)
		}
	}
	delete(c.users, uid)
}

func (c *Cache) read(ctx context.Context, uid string, ref Reference) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		object, news, err := c.look(uid, ref)
		if err == nil || apierrors.IsNotFound(err) {
			return object, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("read %s %s/%s: %w", ref.Resource, ref.Namespace, ref.Name, err)
		case <-news:
		}
	}
}

func (c *Cache) look(uid string, ref Reference) (object runtime.Object, news <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[ref]
	if e == nil {
		ctx, cancel := context.WithCancel(c.ctx)
		e = &entry{users: map[string]bool{}, cancel: cancel, err: errPending, news: make(chan struct{})}
		c.entries[ref] = e
		go c.follower(ref).Follow(ctx, ref, func(object runtime.Object, err error) { c.store(ref, e, object, err) })
	}
	e.users[uid] = true
	if c.users[uid] == nil {
		c.users[uid] = map[Reference]bool{}
	}
	c.users[uid][ref] = true
	return e.object, e.news, e.err
}

func (c *Cache) follower(ref Reference) Follower {
	f := Follower{Client: c.client.Core(), Codec: c.client.Parameters(), New: func() runtime.Object { return &corev1.ConfigMap{} }}
	if ref.Resource == "secrets" {
		f.New = func() runtime.Object { return &corev1.Secret{} }
	}
	return f
}

// store keeps the last good value when the API server is merely unreachable: running pods keep what they have.
func (c *Cache) store(ref Reference, e *entry, object runtime.Object, err error) {
	c.mu.Lock()
	first := errors.Is(e.err, errPending)
	if err == nil || e.object == nil || apierrors.IsNotFound(err) {
		e.object, e.err = object, err
	}
	close(e.news)
	e.news = make(chan struct{})
	var users []string
	if !first && (err == nil || apierrors.IsNotFound(err)) {
		for uid := range e.users {
			users = append(users, uid)
		}
	}
	c.mu.Unlock()
	for _, uid := range users {
		c.changed(uid)
	}
}

func groupResource(ref Reference) schema.GroupResource {
	return schema.GroupResource{Resource: ref.Resource}
}
