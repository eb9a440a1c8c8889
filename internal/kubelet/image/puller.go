// SPDX-License-Identifier: Apache-2.0

// Package image makes sure that a container's image is on the node, by its pull policy, with back-off after failures and with the
// words that kubectl's users know.
package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	gate    *gate
	log     *slog.Logger
	mu      sync.Mutex
	failed  map[string]string // why the last pull failed, by back-off key
}

// New makes a puller over an image service.
func New(images runtimeapi.ImageServiceClient, recorder *events.Recorder, access Access, log *slog.Logger) *Puller {
	return &Puller{images: images, events: recorder, gate: newGate(access), log: log, backOff: flowcontrol.NewBackOff(firstBackOff, lastBackOff),
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

// Prune forgets who pulled images that are not on the node any more.
func (p *Puller) Prune(ctx context.Context) error {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	list, err := p.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	present := map[string]bool{}
	for _, image := range list.GetImages() {
		present[image.GetId()] = true
	}
	return p.gate.records.prune(present)
}

// Ensure returns the image, pulling it when the policy says so. Failures are of type *Error.
func (p *Puller) Ensure(ctx context.Context, pod *corev1.Pod, c *corev1.Container, with []Credential, sandbox *runtimeapi.PodSandboxConfig) (Found, error) {
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
	if present != nil {
		permitted, err := p.gate.permits(c.Image, present.GetId(), with)
		if permitted && policy != corev1.PullAlways {
			p.events.Pod(pod, c.Name, corev1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", c.Image)
			return found(present), nil
		}
		if err != nil {
			p.log.Warn("image is pulled again: who may use it is not known", "image", c.Image, "error", err)
		}
	}
	if policy == corev1.PullNever { // an image that the pod may not use is as good as none, and is not told from it
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		p.events.Pod(pod, c.Name, corev1.EventTypeWarning, "ErrImageNeverPull", "%s", message)
		return Found{}, &Error{ErrImageNeverPull, message, time.Now().Add(firstBackOff)}
	}
	return p.pull(ctx, pod, c, spec, with, sandbox)
}

func (p *Puller) pull(ctx context.Context, pod *corev1.Pod, c *corev1.Container, spec *runtimeapi.ImageSpec, with []Credential, sandbox *runtimeapi.PodSandboxConfig) (Found, error) {
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
	image, err := p.fetchNoted(ctx, spec, with, sandbox)
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
	if image == nil {
		return Found{}, &Error{ErrImageInspect, fmt.Sprintf("Failed to inspect image %q after its pull", c.Image), time.Now().Add(time.Second)}
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

// fetchNoted pulls and notes who did, so that others cannot use what they could not pull. It returns no image when that cannot be seen after
// its pull.
func (p *Puller) fetchNoted(ctx context.Context, spec *runtimeapi.ImageSpec, with []Credential, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, error) {
	if err := p.gate.begin(spec.GetImage()); err != nil {
		return nil, err
	}
	ref, used, err := p.fetch(ctx, spec, with, sandbox)
	var image *runtimeapi.Image
	if err == nil {
		if image, err = p.inspect(ctx, &runtimeapi.ImageSpec{Image: ref, UserSpecifiedImage: spec.GetImage()}); err != nil {
			return nil, err // the pull stays noted as one under way, for the image is there
		}
	}
	if noteErr := p.gate.end(spec.GetImage(), image.GetId(), used); noteErr != nil {
		p.log.Warn("who pulled an image is not noted", "image", spec.GetImage(), "error", noteErr)
	}
	return image, err
}

// fetch tries each credential in turn, and none when there are none. It returns the image's reference and the credential that was good.
func (p *Puller) fetch(ctx context.Context, spec *runtimeapi.ImageSpec, with []Credential, sandbox *runtimeapi.PodSandboxConfig) (string, *Credential, error) {
	pull := func(auth *runtimeapi.AuthConfig) (string, error) {
		resp, err := p.images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: spec, Auth: auth, SandboxConfig: sandbox})
		return resp.GetImageRef(), err
	}
	if len(with) == 0 {
		ref, err := pull(nil)
		return ref, nil, err
	}
	var errs []error
	for i := range with {
		ref, err := pull(with[i].Auth)
		if err == nil {
			return ref, &with[i], nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return "", nil, errs[0] // with its code
	}
	return "", nil, errors.Join(errs...)
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
