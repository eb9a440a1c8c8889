// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// progressPeriod is how often a pull that takes long says how far it is.
const progressPeriod = 10 * time.Second

// Progress is how far a pull is.
type Progress struct {
	Image          string
	Fetched, Total int64 // bytes as they are sent; of layers that the store has already, nothing is fetched
	Took           time.Duration
}

// meter counts what a pull fetches.
type meter struct{ fetched atomic.Int64 }

// report tells about the progress of a pull until the returned function is called.
func (s *Store) report(ctx context.Context, ref string, img v1.Image, m *meter) (stop func()) {
	if s.OnProgress == nil {
		return func() {}
	}
	begin, total := time.Now(), s.missing(img)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(s.progress)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				s.OnProgress(Progress{Image: ref, Fetched: m.fetched.Load(), Total: total, Took: time.Since(begin)})
			}
		}
	}()
	return func() { cancel(); <-done }
}

// missing sums up the layers that have to be fetched. What cannot be read now fails the pull soon enough.
func (s *Store) missing(img v1.Image) int64 {
	layers, err := img.Layers()
	if err != nil {
		return 0
	}
	var total int64
	for _, layer := range layers {
		if id, err := layer.DiffID(); err == nil {
			if _, err := s.layerInfo(id.Hex); err == nil {
				continue
			}
		}
		if size, err := layer.Size(); err == nil {
			total += size
		}
	}
	return total
}
