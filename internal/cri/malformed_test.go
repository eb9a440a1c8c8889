// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Whatever a request says, the server answers it, and leaves nothing of what it refused. The seed is fixed: a failure
// comes again.
func TestMalformedRequests(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("web")
	sb := n.runSandbox(pod)
	id := n.run(sb, containerConfig("main", "serve"), pod)
	conn, err := grpc.NewClient("unix://"+n.path("cri.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	random := &garbage{Rand: rand.New(rand.NewPCG(1, 2)), texts: []string{"", "", "x", "web", "test.local/pod", "../../etc", "a\x00b", "/", "%s", strings.Repeat("y", 5000), "sha256:", sb, id}}
	for _, service := range []protoreflect.Name{"RuntimeService", "ImageService"} {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("runtime.v1." + string(service)))
		if err != nil {
			t.Fatal(err)
		}
		methods := found.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			method := methods.Get(i)
			if method.IsStreamingServer() || tooMuch[method.Name()] {
				continue
			}
			for range 30 {
				request, answer := random.message(t, method.Input()), emptyMessage(t, method.Output())
				err := conn.Invoke(t.Context(), "/runtime.v1."+string(service)+"/"+string(method.Name()), request, answer)
				if status.Code(err) == codes.Internal || status.Code(err) == codes.Unavailable {
					t.Fatalf("%s %v: %v", method.Name(), request, err)
				}
			}
		}
	}
	n.spoiledContainers(random, sb, pod)
	if out, code := n.exec(id, "echo", "still", "here"); code != 0 || out != "still here\n" {
		t.Errorf("container after malformed requests: %d %q", code, out)
	}
	list, err := n.runtime.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{})
	if err != nil || len(list.GetContainers()) < 1 {
		t.Errorf("containers after malformed requests: %v, %v", list, err)
	}
}

// spoiledContainers makes containers of requests that are right but for a few fields, and starts and removes them.
func (n *node) spoiledContainers(random *garbage, sandbox string, pod *runtimeapi.PodSandboxConfig) {
	n.t.Helper()
	for range 60 {
		config := containerConfig("spoiled", "serve")
		config.Mounts = []*runtimeapi.Mount{{ContainerPath: "/mnt", HostPath: n.path("bin"), Readonly: true}}
		random.spoil(config.ProtoReflect())
		config.Metadata = &runtimeapi.ContainerMetadata{Name: "spoiled"}
		created, err := n.runtime.CreateContainer(n.t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: sandbox, Config: config, SandboxConfig: pod})
		if status.Code(err) == codes.Internal {
			n.t.Fatalf("create container %v: %v", config, err)
		}
		if err != nil {
			continue
		}
		_, err = n.runtime.StartContainer(n.t.Context(), &runtimeapi.StartContainerRequest{ContainerId: created.GetContainerId()})
		if status.Code(err) == codes.Internal {
			n.t.Fatalf("start container %v: %v", config, err)
		}
		if _, err := n.runtime.RemoveContainer(n.t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: created.GetContainerId()}); err != nil {
			n.t.Errorf("remove container %v: %v", config, err)
		}
	}
}

// tooMuch are the calls that end, with an id that is right by chance, what the others are tried on, or ask a registry.
var tooMuch = map[protoreflect.Name]bool{
	"StopPodSandbox": true, "RemovePodSandbox": true, "StopContainer": true, "RemoveContainer": true, "RemoveImage": true, "PullImage": true, "ExecSync": true,
}

func emptyMessage(t *testing.T, d protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return kind.New().Interface()
}

// garbage fills messages with values that are valid to send and to nobody else.
type garbage struct {
	*rand.Rand
	texts []string
}

func (g *garbage) message(t *testing.T, d protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	m := emptyMessage(t, d)
	g.fill(m.ProtoReflect(), 0)
	return m
}

func (g *garbage) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case depth > 6 || g.IntN(3) == 0:
		case f.IsMap():
			if f.MapKey().Kind() == protoreflect.StringKind && f.MapValue().Kind() == protoreflect.StringKind {
				m.Mutable(f).Map().Set(protoreflect.MapKey(g.text()), g.text())
			}
		case f.IsList():
			list := m.Mutable(f).List()
			for range g.IntN(3) {
				if f.Kind() == protoreflect.MessageKind {
					g.fill(list.AppendMutable().Message(), depth+1)
				} else {
					list.Append(g.scalar(f))
				}
			}
		case f.Kind() == protoreflect.MessageKind:
			g.fill(m.Mutable(f).Message(), depth+1)
		default:
			m.Set(f, g.scalar(f))
		}
	}
}

// spoil replaces one field in ten.
func (g *garbage) spoil(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap():
			if m.Has(f) {
				g.spoil(m.Mutable(f).Message())
			}
		case f.IsMap() || g.IntN(10) > 0:
		case f.IsList():
			list := m.Mutable(f).List()
			if f.Kind() == protoreflect.MessageKind {
				g.fill(list.AppendMutable().Message(), 0)
			} else {
				list.Append(g.scalar(f))
			}
		default:
			m.Set(f, g.scalar(f))
		}
	}
}

func (g *garbage) text() protoreflect.Value {
	return protoreflect.ValueOfString(g.texts[g.IntN(len(g.texts))])
}

func (g *garbage) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	number := []int64{0, 1, -1, 99, 1 << 40, -1 << 63}[g.IntN(6)]
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(number&1 == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(number % 100))
	case protoreflect.StringKind:
		return g.text()
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(number))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(number))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(number))
	}
	return protoreflect.ValueOfInt64(number)
}

func TestRelativeHostPathIsRefused(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("web")
	sb := n.runSandbox(pod)
	for _, path := range []string{"", "x", "../../etc"} {
		config := containerConfig("main", "serve")
		config.Mounts = []*runtimeapi.Mount{{ContainerPath: "/mnt", HostPath: path}}
		_, err := n.runtime.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: sb, Config: config, SandboxConfig: pod})
		if err == nil || !strings.Contains(err.Error(), "must be absolute") {
			t.Errorf("mount of %q: %v", path, err)
		}
	}
}
