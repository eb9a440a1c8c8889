// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Times of mending. A lost event is found within mendEvery and one watch: less than 30 s.
const (
	mendEvery = 20 * time.Second
	// mendWatch is how long a second watch lasts, in seconds. API servers send a bookmark 2 s before the end, which says
	// that everything up to it was told.
	mendWatch = 4
)

// mender notices what a watch did not tell. Again and again it opens a second, short watch that begins where the one
// before ended: the API server tells once more what happened meanwhile, and what the mirror does not know of it was lost.
// That costs what changed, not what there is. As long as it works, what is known is known to be what the API server has.
type mender struct {
	name   string
	lists  cache.ListerWatcher
	mirror *mirror
	synced func() string // version that the watch came to
	every  time.Duration
	log    *slog.Logger

	mark      string       // everything up to this version was looked at
	confirmed atomic.Int64 // when, in nanoseconds of Unix time
	lost      atomic.Uint64
}

func (m *mender) run(ctx context.Context) {
	select {
	case <-m.mirror.listed:
	case <-ctx.Done():
		return
	}
	m.confirmed.Store(time.Now().UnixNano())
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		if err := m.round(ctx); err != nil {
			m.log.Debug("watch not confirmed", "resource", m.name, "err", err)
			continue
		}
		m.confirmed.Store(began.UnixNano())
		m.mirror.forgetGone()
	}
}

// round looks at everything that happened since the last one.
func (m *mender) round(ctx context.Context) error {
	if m.mark == "" {
		m.mark = m.mirror.floorText()
	}
	next, seconds := m.synced(), int64(mendWatch)
	ctx, cancel := context.WithTimeout(ctx, 2*mendWatch*time.Second)
	defer cancel()
	again, err := cache.ToListerWatcherWithContext(m.lists).WatchWithContext(ctx, metav1.ListOptions{ResourceVersion: m.mark, AllowWatchBookmarks: true, TimeoutSeconds: &seconds})
	if expired(err) {
		return m.compare(ctx)
	}
	if err != nil {
		return fmt.Errorf("watch again from version %s: %w", m.mark, err)
	}
	defer again.Stop()
	began := time.Now()
	for {
		select {
		case <-ctx.Done(): // of a server that does not know timeoutSeconds
			m.mark = next
			return nil
		case event, open := <-again.ResultChan():
			switch {
			case !open && time.Since(began) < (mendWatch-1)*time.Second:
				return fmt.Errorf("watch again from version %s: it ended early", m.mark)
			case !open:
				m.mark = next
				return nil
			}
			done, err := m.take(event, &next)
			if expired(err) {
				return m.compare(ctx)
			}
			if done || err != nil {
				m.mark = next
				return err
			}
		}
	}
}

// take looks at one event of the second watch. It is done at a bookmark.
func (m *mender) take(event watch.Event, next *string) (done bool, err error) {
	switch event.Type {
	case watch.Error:
		return false, apierrors.FromObject(event.Object)
	case watch.Bookmark:
		_, version, err := identify(event.Object)
		if version != 0 {
			*next = strconv.FormatUint(version, 10)
		}
		return true, err
	case watch.Added, watch.Modified, watch.Deleted:
		key, version, news, err := m.mirror.mend(event.Object, event.Type == watch.Deleted)
		if err != nil {
			return false, err
		}
		if version > number(*next) {
			*next = strconv.FormatUint(version, 10)
		}
		m.notice(key, version, news)
	}
	return false, nil
}

// notice counts news as lost when the watch is past them; else they are only early.
func (m *mender) notice(key string, version uint64, news bool) {
	if news && version <= number(m.synced()) {
		m.lost.Add(1)
		m.log.Warn("a lost watch event was mended", "resource", m.name, "object", key)
	}
}

// compare lists everything: the API server no longer knows what happened since the mark.
func (m *mender) compare(ctx context.Context) error {
	list, err := cache.ToListerWatcherWithContext(m.lists).ListWithContext(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	access, err := meta.ListAccessor(list)
	if err != nil {
		return fmt.Errorf("read version of the list: %w", err)
	}
	at, there := number(access.GetResourceVersion()), map[string]bool{}
	err = meta.EachListItem(list, func(object runtime.Object) error {
		key, version, news, err := m.mirror.mend(object, false)
		there[key] = true
		m.notice(key, version, news)
		return err
	})
	if err != nil {
		return fmt.Errorf("compare list: %w", err)
	}
	for _, key := range m.mirror.removeOthers(there, at) {
		m.notice(key, at, true)
	}
	m.mark = access.GetResourceVersion()
	return nil
}

func expired(err error) bool {
	return err != nil && (apierrors.IsResourceExpired(err) || apierrors.IsGone(err))
}

// number reads a version; 0 where it is none.
func number(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
