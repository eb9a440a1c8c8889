// SPDX-License-Identifier: Apache-2.0

package static

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"eastwest/internal/client"
)

// How often the folder is read although nothing is heard of it, how soon after something is, and how often when something is to be done
// that did not work, or that waits for a pod's end.
const (
	readPeriod = 20 * time.Second
	readDelay  = 50 * time.Millisecond
	retryPause = time.Second
)

// Config says where manifests are and who runs them. All fields are required but Dir: without it there are no static pods.
type Config struct {
	Dir, Node string
	Client    *client.Client
	// Owner is the UID of the Node's object, empty while it has none.
	Owner func() types.UID
	// Run has a pod run, End has it end. Known says whether anything of it may be there.
	Run, End func(pod *corev1.Pod)
	Known    func(uid string) bool
	// Shown tells what the API shows of a pod: the pod, with its mirror's status and version.
	Shown func(pod *corev1.Pod)
	Log   *slog.Logger
}

// Source keeps pods and mirrors as the folder says. Safe for concurrent use.
type Source struct {
	config   Config
	again    chan struct{}
	mu       sync.Mutex
	files    map[string]*corev1.Pod
	running  map[types.UID]*corev1.Pod
	mirrors  map[string]*corev1.Pod // by full name
	listed   bool                   // the API's mirrors are known
	problems string
}

// New makes a source. Nothing is read before Start.
func New(config Config) *Source {
	return &Source{config: config, again: make(chan struct{}, 1), running: map[types.UID]*corev1.Pod{}, mirrors: map[string]*corev1.Pod{}}
}

// Start runs what is in the folder, so that nobody takes pods of an earlier agent for orphans.
func (s *Source) Start() { s.sync() }

// Run follows the folder until ctx ends. The pods go on.
func (s *Source) Run(ctx context.Context) {
	var changes chan fsnotify.Event
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		changes = watcher.Events
	} else {
		s.config.Log.Warn("changes of static pods are noticed late", "every", readPeriod, "error", err)
	}
	for ctx.Err() == nil {
		wait := readPeriod
		if s.config.Dir != "" && watcher != nil && watcher.Add(s.config.Dir) != nil { // adding it again does nothing; a folder that comes is noticed soon
			wait = retryPause
		}
		if done := s.sync() && s.mirror(ctx); !done {
			wait = retryPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case <-s.again:
		case <-changes:
			time.Sleep(readDelay) // a file that is written is told of more than once
		}
	}
}

func (s *Source) wake() {
	select {
	case s.again <- struct{}{}:
	default:
	}
}

// sync starts and ends pods as the folder says. It returns false when some wait.
func (s *Source) sync() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read()
	wanted := map[types.UID]bool{}
	for _, pod := range s.files {
		wanted[pod.UID] = true
	}
	for uid, pod := range s.running {
		if !wanted[uid] {
			s.config.Log.Info("static pod ends", "pod", fullName(pod))
			s.config.End(pod)
			if s.config.Known(string(uid)) {
				continue // until nothing is left of it
			}
			delete(s.running, uid)
		}
	}
	done := true
	for _, pod := range s.files {
		if s.running[pod.UID] != nil {
			continue
		}
		if s.namesake(pod) {
			done = false
			continue
		}
		s.config.Log.Info("static pod starts", "pod", fullName(pod))
		s.running[pod.UID] = pod
		s.config.Run(pod)
	}
	return done && len(s.running) == len(s.files)
}

// read takes over the folder, and says what is wrong with it once. The caller holds the lock.
func (s *Source) read() {
	if s.config.Dir == "" {
		return
	}
	files, err := read(s.config.Dir, s.config.Node, s.config.Client.Scheme(), s.files)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.problems && text != "" {
		s.config.Log.Warn("static pods", "error", err)
	}
	if s.problems = text; files != nil {
		s.files = files
	}
}

// namesake says whether an earlier pod of that name has not ended. The caller holds the lock.
func (s *Source) namesake(pod *corev1.Pod) bool {
	for uid, other := range s.running {
		if uid != pod.UID && fullName(other) == fullName(pod) {
			return true
		}
	}
	return false
}
