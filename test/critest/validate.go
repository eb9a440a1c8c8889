// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	internalapi "k8s.io/cri-api/pkg/apis"
	remote "k8s.io/cri-client/pkg"
)

// impossible are the specs that cannot pass here, with the reason; docs/cri.md lists them.
var impossible = []struct{ spec, why string }{
	{"public image with digest should be pulled", "names the digest of an image that only its own registry has"},
}

// conflist is the network of the pods: the one of a node, with a range that nobody else is in this namespace to have.
const conflist = `{
  "cniVersion": "1.0.0", "name": "critest",
  "plugins": [
    {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": %q,
      "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}`

// validate starts the registry and the runtime, runs the suite on it and reports.
func validate(ctx context.Context, o options) error {
	if err := setLoopbackUp(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "critest-")
	if err != nil {
		return fmt.Errorf("create folder for the runtime: %w", err)
	}
	mirror, err := startRegistry(o.out)
	if err != nil {
		return err
	}
	runtime, err := startRuntime(ctx, o, dir, mirror)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	err = specs(ctx, o, runtime.endpoint)
	if stopErr := runtime.stop(context.WithoutCancel(ctx)); stopErr != nil {
		return errors.Join(err, stopErr) // the folder stays: something may be mounted in it
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// specs runs what was selected and reports.
func specs(ctx context.Context, o options, endpoint string) error {
	report := filepath.Join(o.out, "report.json")
	runErr := suite(ctx, o, report, endpoint)
	summary, err := readReport(report)
	if err != nil {
		return errors.Join(runErr, err)
	}
	summary.print(os.Stdout)
	switch {
	case len(summary.failed) > 0:
		return fmt.Errorf("%d of %d specs failed; the runtime's log is %s", len(summary.failed), summary.ran(), filepath.Join(o.out, "cri.log"))
	case summary.ran() == 0:
		return fmt.Errorf("no spec is selected by focus %q and skip %q", o.focus, o.skip)
	}
	return runErr
}

func setLoopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

func suite(ctx context.Context, o options, report, endpoint string) error {
	if err := os.RemoveAll(report); err != nil {
		return fmt.Errorf("remove the report of last time: %w", err)
	}
	args := []string{"-test.timeout=0", "-ginkgo.timeout=1h", "-ginkgo.no-color", "-ginkgo.randomize-all=false",
		"-ginkgo.json-report=" + report, "-ginkgo.focus=" + o.focus, "-runtime-endpoint=" + endpoint}
	for _, i := range impossible {
		args = append(args, "-ginkgo.skip="+i.spec)
	}
	if o.skip != "" {
		args = append(args, "-ginkgo.skip="+o.skip)
	}
	return call(ctx, o.out, filepath.Join(o.out, "critest.test"), args...)
}

// runtime is a running `eastwest cri`.
type runtime struct {
	endpoint string
	client   internalapi.RuntimeService
	process  *exec.Cmd
	log      *os.File
}

func startRuntime(ctx context.Context, o options, dir, mirror string) (*runtime, error) {
	plugins := filepath.Join(dir, "bin")
	if err := call(ctx, dir, filepath.Join(o.programs, "eastwest-cni"), "install", "--dir", plugins); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(conflist, filepath.Join(dir, "addresses"))
	conf := filepath.Join(dir, "net.d")
	if err := errors.Join(os.Mkdir(conf, 0o755), os.WriteFile(filepath.Join(conf, "10-critest.conflist"), []byte(text), 0o644)); err != nil {
		return nil, fmt.Errorf("write the network's configuration: %w", err)
	}
	log, err := os.Create(filepath.Join(o.out, "cri.log"))
	if err != nil {
		return nil, fmt.Errorf("create the runtime's log: %w", err)
	}
	socket := filepath.Join(dir, "cri.sock")
	args := []string{"cri", "--verbose", "--socket", socket, "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"),
		"--cni-conf-dir", conf, "--cni-bin-dir", plugins, "--netns-dir", filepath.Join(dir, "netns")}
	for _, registry := range registries {
		args = append(args, "--registry-mirror", registry+"="+mirror)
	}
	r := &runtime{endpoint: "unix://" + socket, process: exec.Command(filepath.Join(o.programs, "eastwest-node"), args...), log: log}
	r.process.Stdout, r.process.Stderr = log, log
	r.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for us, and it must outlive the suite
	if err := r.process.Start(); err != nil {
		return nil, fmt.Errorf("start the runtime: %w", err)
	}
	if err := r.connect(ctx); err != nil {
		err = fmt.Errorf("connect to the runtime (its log is %s): %w", log.Name(), err)
		return nil, errors.Join(err, r.process.Process.Kill(), r.process.Wait())
	}
	return r, nil
}

// connect waits for the runtime to serve: the client's own builder asks once.
func (r *runtime) connect(ctx context.Context) (err error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		r.client, err = remote.NewRemoteRuntimeServiceBuilder().WithEndpoint(r.endpoint).WithConnectionTimeout(time.Minute).Build(ctx)
		if err == nil {
			return nil
		}
	}
	return errors.Join(err, ctx.Err())
}

// stop ends the runtime. What the suite left is an error, and removed.
func (r *runtime) stop(ctx context.Context) error {
	defer r.log.Close()
	pods, err := r.client.ListPodSandbox(ctx, nil)
	if err != nil {
		err = fmt.Errorf("list pods that are left: %w", err)
	}
	var left []string
	for _, pod := range pods {
		left = append(left, pod.GetMetadata().GetName())
		err = errors.Join(err, r.client.StopPodSandbox(ctx, pod.GetId()), r.client.RemovePodSandbox(ctx, pod.GetId()))
	}
	if len(left) > 0 {
		fmt.Fprintln(os.Stderr, "pods that the suite left:", strings.Join(left, " "))
	}
	if err := errors.Join(err, r.process.Process.Signal(syscall.SIGTERM)); err != nil {
		return err
	}
	if err := r.process.Wait(); err != nil {
		return fmt.Errorf("end the runtime: %w", err)
	}
	return unmount(filepath.Dir(strings.TrimPrefix(r.endpoint, "unix://")))
}

// unmount removes the runtime's own mount of its state; a container's would keep it busy.
func unmount(dir string) error {
	if err := syscall.Unmount(filepath.Join(dir, "state"), 0); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("unmount the runtime's folder %s (what is left in it?): %w", dir, err)
	}
	return nil
}
