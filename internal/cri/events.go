// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"errors"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// eventBuffer is how many events a slow reader may be behind before its stream is ended; it then lists and starts anew.
const eventBuffer = 1024

// broadcaster hands events to every reader.
type broadcaster struct {
	mu      sync.Mutex
	readers map[chan *runtimeapi.ContainerEventResponse]bool
}

func newBroadcaster() *broadcaster {
	return &broadcaster{readers: map[chan *runtimeapi.ContainerEventResponse]bool{}}
}

func (b *broadcaster) subscribe() chan *runtimeapi.ContainerEventResponse {
	ch := make(chan *runtimeapi.ContainerEventResponse, eventBuffer)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers[ch] = true
	return ch
}

func (b *broadcaster) unsubscribe(ch chan *runtimeapi.ContainerEventResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.readers, ch)
}

// send closes the channel of a reader that is too far behind.
func (b *broadcaster) send(ev *runtimeapi.ContainerEventResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.readers {
		select {
		case ch <- ev:
		default:
			close(ch)
			delete(b.readers, ch)
		}
	}
}

// emit tells readers that something happened to a container, or to the sandbox itself when both ids are the same, with
// the pod's state as it is now.
func (s *Server) emit(id, sandboxID string, kind runtimeapi.ContainerEventType) {
	ev := &runtimeapi.ContainerEventResponse{ContainerId: id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano()}
	if b, err := s.sandbox(sandboxID); err == nil {
		ev.PodSandboxStatus = sandboxStatus(b.record())
		ev.ContainersStatuses = s.containerStatuses(sandboxID)
	}
	s.events.send(ev)
}

// GetContainerEvents streams what happens to containers and sandboxes from now on.
func (s *Server) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream runtimeapi.RuntimeService_GetContainerEventsServer) error {
	ch := s.events.subscribe()
	defer s.events.unsubscribe(ch)
	if err := stream.SendHeader(nil); err != nil { // the reader knows now that nothing after this is missed
		return err
	}
	for {
		select {
		case ev, ok := <-ch:
			if !ok {
				return errors.New("event stream ended: the reader was too slow; list and read again")
			}
			if err := stream.Send(ev); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		case <-s.life.Done():
			return nil
		}
	}
}
