// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// api is the one server of this test program: Kubernetes' packages keep too much in package-level variables for two.
var api kubernetes.Interface

// admin is how its administrator reaches it.
var admin *rest.Config

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveOnly); dir != "" {
		os.Exit(serveAlone(dir))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "eastwest-server-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	if err := serve(ctx, dir, ended); err != nil {
		cancel()
		fmt.Fprintln(os.Stderr, "start the server:", err)
		return 1
	}
	status := m.Run()
	cancel()
	if err := <-ended; err != nil {
		fmt.Fprintln(os.Stderr, "run the server:", err)
		return 1
	}
	return status
}

// serve starts the server on a free port of the loopback device and waits until its own objects are in place.
func serve(ctx context.Context, dir string, ended chan<- error) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := uint16(listener.Addr().(*net.TCPAddr).Port)
	listener.Close()
	loopback := netip.MustParseAddr("127.0.0.1")
	s, err := New(Config{
		DataDir: dir, AdvertiseAddress: loopback, BindAddress: loopback, Port: port, Log: slog.New(slog.DiscardHandler),
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
	})
	if err != nil {
		return err
	}
	go func() { ended <- s.Run(ctx) }()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "admin.kubeconfig"))
	if err != nil {
		return err
	}
	config.QPS = -1
	admin = config
	if api, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	for ctx, cancel := context.WithTimeout(ctx, 2*time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, err := api.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil || ctx.Err() != nil {
			cancel()
			return err
		}
	}
}

func nodePortService(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// Sixteen clients at once: no virtual IP and no node port is given twice, and the addresses are the lowest that were free.
func TestAddressesAndPortsAreGivenOnce(t *testing.T) {
	services := api.CoreV1().Services(metav1.NamespaceDefault)
	const clients, each = 16, 8
	created := make([][]*corev1.Service, clients)
	var group errgroup.Group
	for client := range clients {
		group.Go(func() error {
			for i := range each {
				service, err := services.Create(t.Context(), nodePortService(fmt.Sprintf("once-%d-%d", client, i)), metav1.CreateOptions{})
				if err != nil {
					return err
				}
				created[client] = append(created[client], service)
				if i%4 == 3 { // what is freed is given again, to somebody else
					if err := services.Delete(t.Context(), created[client][i-1].Name, metav1.DeleteOptions{}); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	list, err := services.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addresses, ports := map[string]string{}, map[int32]string{}
	highest := netip.MustParseAddr("10.96.0.0")
	for _, service := range list.Items {
		if !strings.HasPrefix(service.Name, "once-") {
			continue
		}
		if other, taken := addresses[service.Spec.ClusterIP]; taken {
			t.Errorf("%s and %s both have %s", service.Name, other, service.Spec.ClusterIP)
		}
		if other, taken := ports[service.Spec.Ports[0].NodePort]; taken {
			t.Errorf("%s and %s both have node port %d", service.Name, other, service.Spec.Ports[0].NodePort)
		}
		addresses[service.Spec.ClusterIP], ports[service.Spec.Ports[0].NodePort] = service.Name, service.Name
		if addr := netip.MustParseAddr(service.Spec.ClusterIP); highest.Less(addr) {
			highest = addr
		}
		object, err := api.NetworkingV1().IPAddresses().Get(t.Context(), service.Spec.ClusterIP, metav1.GetOptions{})
		if err != nil || object.Spec.ParentRef == nil || object.Spec.ParentRef.Name != service.Name {
			t.Errorf("IPAddress %s of %s: %v, error %v", service.Spec.ClusterIP, service.Name, object, err)
		}
	}
	if want := clients * (each - each/4); len(addresses) != want {
		t.Errorf("%d services, want %d", len(addresses), want)
	}
	// The dynamic band begins 256 addresses behind the first; what was never needed lies behind what is in use.
	if last := netip.MustParseAddr("10.96.1.1"); highest.Compare(netip.AddrFrom4([4]byte{10, 96, 1, byte(clients*each + 1)})) > 0 || highest.Less(last) {
		t.Errorf("highest address %s", highest)
	}
}

func TestAddressThatIsTakenOrOutside(t *testing.T) {
	services := api.CoreV1().Services(metav1.NamespaceDefault)
	for address, want := range map[string]string{
		"10.96.0.1": "provided IP is already allocated",
		"10.0.0.1":  "the provided network does not match the current range",
		"10.96.0.0": "the provided IP (10.96.0.0) is not in the valid range",
	} {
		service := nodePortService("refused")
		service.Spec.ClusterIP = address
		_, err := services.Create(t.Context(), service, metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "spec.clusterIPs") {
			t.Errorf("%s: error %v, want %q", address, err, want)
		}
	}
	service := nodePortService("refused")
	service.Spec.Ports[0].NodePort = 80
	_, err := services.Create(t.Context(), service, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "The range of valid ports is 30000-32767") {
		t.Errorf("node port 80: error %v", err)
	}
	if _, err := services.Get(t.Context(), "refused", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a refused service is there: %v", err)
	}
}

// Documents are made when they are asked for; every one that the list names is there, for any hash, and whole.
func TestOpenAPIDocuments(t *testing.T) {
	client := api.Discovery().RESTClient()
	data, err := client.Get().AbsPath("/openapi/v3").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Paths map[string]struct {
			ServerRelativeURL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]string{"api/v1": "io.k8s.api.core.v1.Pod", "apis/apps/v1": "io.k8s.api.apps.v1.Deployment", "apis/networking.k8s.io/v1": "io.k8s.api.networking.v1.ServiceCIDR"} {
		for _, address := range []string{list.Paths[path].ServerRelativeURL, "/openapi/v3/" + path, "/openapi/v3/" + path + "?hash=OF-ANOTHER-SERVER"} {
			document, err := client.Get().RequestURI(address).DoRaw(t.Context())
			if err != nil || !strings.Contains(string(document), kind) {
				t.Errorf("%s: error %v, or no %s in %d bytes", address, err, kind, len(document))
			}
		}
	}
	if _, err := client.Get().RequestURI("/openapi/v3/apis/none/v1").DoRaw(t.Context()); !apierrors.IsNotFound(err) {
		t.Errorf("unknown document: error %v", err)
	}
	schema, err := api.Discovery().OpenAPISchema()
	if err != nil || len(schema.GetPaths().GetPath()) < 300 {
		t.Errorf("version 2: %d paths, error %v", len(schema.GetPaths().GetPath()), err)
	}
}

func TestPromisedRolesAreThere(t *testing.T) {
	rbac := api.RbacV1()
	for _, name := range []string{"cluster-admin", "admin", "edit", "view", "system:node", "system:node-bootstrapper", "system:kube-scheduler"} {
		if role, err := rbac.ClusterRoles().Get(t.Context(), name, metav1.GetOptions{}); err != nil || role.Annotations["rbac.authorization.kubernetes.io/autoupdate"] != "true" {
			t.Errorf("cluster role %s: %v, error %v", name, role.Annotations, err)
		}
	}
	for _, name := range []string{"cluster-admin", "system:basic-user", "system:controller:deployment-controller"} {
		if _, err := rbac.ClusterRoleBindings().Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Errorf("cluster role binding %s: %v", name, err)
		}
	}
	if _, err := rbac.RoleBindings(metav1.NamespaceSystem).Get(t.Context(), "system::leader-locking-kube-scheduler", metav1.GetOptions{}); err != nil {
		t.Errorf("role binding of kube-system: %v", err)
	}
}
