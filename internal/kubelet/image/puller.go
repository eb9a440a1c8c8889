// SPDX-License-Identifier: Apache-2.0

// Package image makes sure that a container's image is on the node, by its pull policy, with back-off after failures and with the
// words that kubectl's users know.
package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/flowcontrol"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"

	"eastwest/internal/kubelet/events"
)

// Back-off between pulls of one image for one pod.
const (
	firstBackOff = 10 * time.Second
	lastBackOff  = 300 * time.Second
)

// Reasons of waiting containers.
const (
	ErrImagePull      = "ErrImagePull"
	ImagePullBackOff  = "ImagePullBackOff"
	ErrImageNeverPull = "ErrImageNeverPull"
	ErrImageInspect   = "ImageInspectError"
	InvalidImageName  = "InvalidImageName"
)

// What a runtime's message begins with when it knows why a pull failed; such a word is a reason, too.
var (
	registryUnavailable = crierrors.ErrRegistryUnavailable.Error()
	invalidSignature    = crierrors.ErrSignatureValidationFailed.Error()
)

// Error is a failure to have an image, as a container's waiting state shows it.
type Error struct {
	Reason, Message string
	RetryAt         time.Time // when another attempt makes sense; zero for the next change
}

// Error returns reason and message.
func (e *Error) Error() string { return e.Reason + ": " + e.Message }

// Found is an image that is on the node.
type Found struct {
	Ref      string // to give to the runtime
	UID      *int64 // user that the image runs as, when it names one by number
	Username string
}

// Puller pulls images. Safe for concurrent use.
type Puller struct {
	images  runtimeapi.ImageServiceClient
	events  *events.Recorder
	backOff *flowcontrol.Backoff
	mu      sync.Mutex
	failed  map[string]string // why the last pull failed, by back-off key
}

// New makes a puller over an image service.
func New(images runtimeapi.ImageServiceClient, recorder *events.Recorder) *Puller {
	return &Puller{images: images, events: recorder, backOff: flowcontrol.NewBackOff(firstBackOff, lastBackOff),
		failed: map[string]string{}}
}

// Forget drops the back-off entries that are no longer of use. Call it now and then.
func (p *Puller) Forget() {
	p.backOff.GC()
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.failed {
		if p.backOff.Get(key) == 0 {
			delete(p.failed, key)
		}
	}
}

// Ensure returns the image, pulling it when the policy says so. Failures are of type *Error.
func (p *Puller) Ensure(ctx context.Context, pod *corev1.Pod, c *corev1.Container, auth []*runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (Found, error) {
	if _, err := name.ParseReference(c.Image, name.WeakValidation); err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", c.Image, c.Image, err)
		p.events.Pod(pod, c.Name, corev1.EventTypeWarning, "InspectFailed", "%s", message)
		return Found{}, &Error{InvalidImageName, message, time.Now().Add(firstBackOff)}
	}
	spec := &runtimeapi.ImageSpec{Image: c.Image, UserSpecifiedImage: c.Image}
	policy := pullPolicy(c)
	present, err := p.inspect(ctx, spec)
	if err != nil && policy != corev1.PullAlways {
		p.events.Pod(pod, c.Name, corev1.EventTypeWarning, "InspectFailed", "Failed to inspect image %q: %v", c.Image, err)
		return Found{}, &Error{ErrImageInspect, fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err), time.Now().Add(firstBackOff)}
	}
	switch {
	case present != nil && policy != corev1.PullAlways:
		p.events.Pod(pod, c.Name, corev1.EventTypeNormal, "Pulled", "Container image %q already present on machine", c.Image)
		return found(present), nil
	case policy == corev1.PullNever:
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		p.events.Pod(pod, c.Name, corev1.EventTypeWarning, "ErrImageNeverPull", "%s", message)
		return Found{}, &Error{ErrImageNeverPull, message, time.Now().Add(firstBackOff)}
	}
	return p.pull(ctx, pod, c, spec, auth, sandbox)
}

func (p *Puller) pull(ctx context.Context, pod *corev1.Pod, c *corev1.Container, spec *runtimeapi.ImageSpec, auth []*runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (Found, error) {
	id := string(pod.UID) + "_" + c.Image
	if now := time.Now(); p.backOff.IsInBackOffSinceUpdate(id, now) {
		message := fmt.Sprintf("Back-off pulling image %q", c.Image)
		p.events.Pod(pod, c.Name, corev1.EventTypeNormal, "BackOff", "%s", message)
		p.mu.Lock()
		if cause := p.failed[id]; cause != "" {
			message += ": " + cause
		}
		p.mu.Unlock()
		return Found{}, &Error{ImagePullBackOff, message, now.Add(p.backOff.Get(id))}
	}
	p.events.Pod(pod, c.Name, corev1.EventTypeNormal, "Pulling", "Pulling image %q", c.Image)
	start := time.Now()
	ref, err := p.fetch(ctx, spec, auth, sandbox)
	if err != nil {
		if ctx.Err() != nil {
			return Found{}, ctx.Err()
		}
		p.backOff.Next(id, time.Now())
		text := plain(err)
		p.events.Pod(pod, c.Name, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %s", c.Image, text)
		failure := explain(c.Image, text)
		p.mu.Lock()
		p.failed[id] = failure.Error()
		p.mu.Unlock()
		return Found{}, failure
	}
	took := time.Since(start).Truncate(time.Millisecond)
	p.backOff.Reset(id)
	image, err := p.inspect(ctx, &runtimeapi.ImageSpec{Image: ref, UserSpecifiedImage: c.Image})
	if err != nil || image == nil {
		return Found{}, &Error{ErrImageInspect, fmt.Sprintf("Failed to inspect image %q after its pull: %v", c.Image, err), time.Now().Add(time.Second)}
	}
	p.events.Pod(pod, c.Name, corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
		c.Image, took, time.Since(start).Truncate(time.Millisecond), image.GetSize())
	return found(image), nil
}

// explain gives a runtime's message the reason that it names itself, if it does.
func explain(image, text string) *Error {
	at := time.Now().Add(time.Second)
	for reason, what := range map[string]string{registryUnavailable: "the registry is unavailable", invalidSignature: "the signature validation failed"} {
		if detail, ok := strings.CutPrefix(text, reason); ok {
			return &Error{reason, fmt.Sprintf("image pull failed for %s because %s%s", image, what, detail), at}
		}
	}
	return &Error{ErrImagePull, text, at}
}

// plain leaves out the code of an error where it says nothing.
func plain(err error) string {
	if s, ok := status.FromError(err); ok && s.Code() == codes.Unknown {
		return s.Message()
	}
	return err.Error()
}

// fetch tries each credential in turn, and none when there are none.
func (p *Puller) fetch(ctx context.Context, spec *runtimeapi.ImageSpec, auth []*runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	if len(auth) == 0 {
		auth = []*runtimeapi.AuthConfig{nil}
	}
	var errs []error
	for _, a := range auth {
		resp, err := p.images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: spec, Auth: a, SandboxConfig: sandbox})
		if err == nil {
			return resp.GetImageRef(), nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return "", errs[0] // with its code
	}
	return "", errors.Join(errs...)
}

func (p *Puller) inspect(ctx context.Context, spec *runtimeapi.ImageSpec) (*runtimeapi.Image, error) {
	resp, err := p.images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: spec})
	if err != nil {
		return nil, err
	}
	return resp.GetImage(), nil
}

func found(image *runtimeapi.Image) Found {
	f := Found{Ref: image.GetId(), Username: image.GetUsername()}
	if image.GetUid() != nil {
		uid := image.GetUid().GetValue()
		f.UID = &uid
	}
	return f
}

func pullPolicy(c *corev1.Container) corev1.PullPolicy {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	name := c.Image[strings.LastIndexByte(c.Image, '/')+1:]
	_, tag, tagged := strings.Cut(name, ":")
	if !strings.Contains(name, "@") && (!tagged || tag == "latest") {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}
