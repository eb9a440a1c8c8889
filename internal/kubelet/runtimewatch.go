// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How often the runtime is listed: while its event stream works, and while it does not.
const (
	relistSlow  = time.Minute
	relistQuick = time.Second
	rejoin      = 20 * time.Millisecond
	rejoinSlow  = time.Second
)

// watchRuntime wakes the workers of pods whose containers changed: by the runtime's events, and by listing now and then, which finds what
// events missed.
func (k *Kubelet) watchRuntime(ctx context.Context) {
	streaming := make(chan bool, 1)
	go k.relist(ctx, streaming)
	wait := rejoin
	for ctx.Err() == nil {
		began := time.Now()
		k.pods.Wake("") // whatever happened while nobody listened
		report(streaming, true)
		err := k.cri.Events(ctx, k.pods.Wake)
		if ctx.Err() != nil {
			return
		}
		report(streaming, false)
		switch {
		case status.Code(err) == codes.Unimplemented:
			wait = relistSlow
		case time.Since(began) > rejoinSlow:
			wait = rejoin
		default:
			wait = min(wait*2, rejoinSlow)
		}
		k.config.Log.Debug("container events interrupted", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// report leaves the newest word in the channel.
func report(out chan bool, word bool) {
	select {
	case <-out:
	default:
	}
	out <- word
}

func (k *Kubelet) relist(ctx context.Context, streaming <-chan bool) {
	period := relistQuick
	var last map[string]string
	timer := time.NewTimer(period)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case works := <-streaming:
			if period = relistQuick; works {
				period = relistSlow
			}
			timer.Reset(period)
			continue
		case <-timer.C:
			timer.Reset(period)
		}
		prints, err := k.cri.Fingerprints(ctx)
		if err != nil {
			continue // the workers notice themselves, and say so
		}
		for uid, now := range prints {
			if last[uid] != now {
				k.pods.Wake(uid)
			}
		}
		for uid := range last {
			if _, still := prints[uid]; !still {
				k.pods.Wake(uid)
			}
		}
		last = prints
	}
}

// collectPeriod is how often what is no longer of use is dropped.
const collectPeriod = 5 * time.Minute

func (k *Kubelet) collect(ctx context.Context) {
	every(ctx, collectPeriod, k.pods.Collect)
}

// every calls do after each period, until ctx ends.
func every(ctx context.Context, period time.Duration, do func()) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}
