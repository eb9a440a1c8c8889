// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// serveOnly names the data folder of a server that this test program is to be, in a process of its own.
const serveOnly = "EASTWEST_TEST_SERVER"

// serveAlone is the child: it serves until it is killed.
func serveAlone(dir string) int {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	if err := serve(context.Background(), dir, ended); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		return 1
	}
	if err := os.WriteFile(filepath.Join(dir, "serves"), nil, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, <-ended)
	return 1
}

// victim is a server in a process of its own, which is killed and started again on the same data.
type victim struct {
	t   *testing.T
	dir string

	mu  sync.Mutex
	api kubernetes.Interface
	cmd *exec.Cmd
}

func (v *victim) start() {
	v.t.Helper()
	marker := filepath.Join(v.dir, "serves")
	if err := os.Remove(marker); err != nil && !errors.Is(err, os.ErrNotExist) {
		v.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveOnly+"="+v.dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	for {
		if _, err := os.Stat(marker); err == nil {
			break
		}
		select {
		case <-ended:
			v.t.Fatal("the server ended at its start")
		case <-time.After(20 * time.Millisecond):
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(v.dir, "admin.kubeconfig"))
	if err != nil {
		v.t.Fatal(err)
	}
	config.QPS, config.Timeout = -1, 10*time.Second
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cmd, v.api = cmd, kubernetes.NewForConfigOrDie(config)
}

func (v *victim) kill() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.cmd.Process.Kill(); err != nil {
		v.t.Error(err)
	}
}

func (v *victim) client() kubernetes.Interface {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.api
}

// ledger is what was acknowledged to any client: who has which address and port. An entry goes before its Service is
// deleted, so that whoever gets the address next finds it free.
type ledger struct {
	mu    sync.Mutex
	holds map[string]types.UID // by address or port
	alive map[types.UID]*corev1.Service
	wrong []string
}

func (l *ledger) got(service *corev1.Service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alive[service.UID] = service
	for _, thing := range things(service) {
		if other, taken := l.holds[thing]; taken && other != service.UID {
			l.wrong = append(l.wrong, fmt.Sprintf("%s was given to %s while %s had it", thing, service.Name, l.alive[other].Name))
		}
		l.holds[thing] = service.UID
	}
}

func (l *ledger) gives(service *corev1.Service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.alive, service.UID)
	for _, thing := range things(service) {
		if l.holds[thing] == service.UID {
			delete(l.holds, thing)
		}
	}
}

func things(service *corev1.Service) []string {
	out := []string{service.Spec.ClusterIP}
	for _, port := range service.Spec.Ports {
		if port.NodePort != 0 {
			out = append(out, fmt.Sprint("port ", port.NodePort))
		}
	}
	return out
}

// Clients create, change and delete Services, some asking for the same addresses and ports, while the server is killed
// again and again: nothing is ever given twice, and nothing that was acknowledged is lost.
func TestNothingIsGivenTwiceWhateverIsKilled(t *testing.T) {
	const clients, kills = 6, 3
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	v := &victim{t: t, dir: t.TempDir()}
	v.start()
	t.Cleanup(v.kill)
	book := &ledger{holds: map[string]types.UID{}, alive: map[types.UID]*corev1.Service{}}
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for client := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(client)))
		working.Go(func() { work(ctx, v, book, random, fmt.Sprintf("c%d", client)) })
	}
	random := rand.New(rand.NewPCG(seed, 99))
	for range kills {
		time.Sleep(time.Duration(300+random.IntN(900)) * time.Millisecond)
		v.kill()
		v.start()
	}
	time.Sleep(500 * time.Millisecond)
	stop()
	working.Wait()
	for _, wrong := range book.wrong {
		t.Error(wrong)
	}
	compare(t, v.client(), book)
}

// work is one client. What a request that broke off has done is not known: its Service is left to the final look.
func work(ctx context.Context, v *victim, book *ledger, random *rand.Rand, prefix string) {
	var own []*corev1.Service
	for i := 0; ctx.Err() == nil; i++ {
		services := v.client().CoreV1().Services(metav1.NamespaceDefault)
		switch {
		case len(own) > 0 && random.IntN(3) == 0:
			at := random.IntN(len(own))
			service := own[at]
			own = append(own[:at], own[at+1:]...)
			book.gives(service)
			_ = services.Delete(context.WithoutCancel(ctx), service.Name, metav1.DeleteOptions{})
		case len(own) > 0 && random.IntN(4) == 0:
			own = change(ctx, v, book, own, random.IntN(len(own)))
		default:
			made, err := services.Create(context.WithoutCancel(ctx), wish(random, fmt.Sprintf("%s-%d", prefix, i)), metav1.CreateOptions{})
			if err == nil {
				book.got(made)
				own = append(own, made)
			} else if !apierrors.IsInvalid(err) {
				time.Sleep(20 * time.Millisecond) // the server is away
			}
		}
	}
}

// wish asks for nothing special, or for an address or port that others ask for, too.
func wish(random *rand.Rand, name string) *corev1.Service {
	service := nodePortService(name)
	switch random.IntN(4) {
	case 0:
		service.Spec.ClusterIP = fmt.Sprint("10.96.0.", 100+random.IntN(4))
	case 1:
		service.Spec.Ports[0].NodePort = int32(30000 + random.IntN(4))
	case 2:
		service.Spec.Type = corev1.ServiceTypeClusterIP
	}
	return service
}

// change makes a Service one without node port, or with one, in place.
func change(ctx context.Context, v *victim, book *ledger, own []*corev1.Service, at int) []*corev1.Service {
	service := own[at].DeepCopy()
	if service.Spec.Type == corev1.ServiceTypeNodePort {
		service.Spec.Type, service.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0
	} else {
		service.Spec.Type = corev1.ServiceTypeNodePort
	}
	before := own[at]
	own = append(own[:at], own[at+1:]...)
	book.gives(before)
	now, err := v.client().CoreV1().Services(service.Namespace).Update(context.WithoutCancel(ctx), service, metav1.UpdateOptions{})
	if err != nil {
		return own
	}
	book.got(now)
	return append(own, now)
}

// compare looks at what the last server has.
func compare(t *testing.T, api kubernetes.Interface, book *ledger) {
	t.Helper()
	list, err := api.CoreV1().Services(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	holder := map[string]string{}
	for i := range list.Items {
		service := &list.Items[i]
		delete(book.alive, service.UID)
		for _, thing := range things(service) {
			if other, taken := holder[thing]; taken {
				t.Errorf("%s is %s's and %s's", thing, service.Name, other)
			}
			holder[thing] = service.Name
		}
		object, err := api.NetworkingV1().IPAddresses().Get(t.Context(), service.Spec.ClusterIP, metav1.GetOptions{})
		if err != nil || object.Spec.ParentRef == nil || object.Spec.ParentRef.Name != service.Name {
			t.Errorf("IPAddress %s of %s: %v, error %v", service.Spec.ClusterIP, service.Name, object, err)
		}
	}
	for _, lost := range book.alive {
		t.Errorf("Service %s was acknowledged and is gone", lost.Name)
	}
	t.Logf("%d services in the end", len(list.Items))
}
