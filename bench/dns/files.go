// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// files writes what the servers are started with.
func (o *options) files(api string) error {
	zone, outside := new(strings.Builder), new(strings.Builder)
	const soa = "@ 30 IN SOA ns.dns hostmaster 1 7200 1800 86400 5\n@ 30 IN NS ns.dns\nns.dns 30 IN A 127.0.0.1\n"
	fmt.Fprintf(zone, "$ORIGIN cluster.local.\n%s", soa)
	for i := range o.services {
		namespace, name, ip := serviceOf(i)
		fmt.Fprintf(zone, "%s.%s.svc 30 IN A %s\n", name, namespace, ip)
	}
	fmt.Fprintf(outside, "$ORIGIN example.com.\n%s* 3600 IN A 192.0.2.1\n", soa)
	for name, text := range map[string]string{
		"cluster.zone": zone.String(),
		"outside.zone": outside.String(),
		"knot.conf": fmt.Sprintf(`server:
    listen: 127.0.0.1@%d
    rundir: %s
database:
    storage: %s
zone:
  - domain: cluster.local
    file: %s/cluster.zone
  - domain: example.com
    file: %s/outside.zone
`, knotPort, o.dir, o.dir, o.dir, o.dir),
		"Corefile": fmt.Sprintf(`.:%d {
    bind 127.0.0.1
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        endpoint %s
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . 127.0.0.1:%d
    cache 30 {
        disable success cluster.local
        disable denial cluster.local
    }
}
`, corePort, api, knotPort),
		"kubeconfig": kubeconfigOf(api),
	} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func kubeconfigOf(api string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: bench, cluster: {server: %q}}]
contexts: [{name: bench, context: {cluster: bench}}]
current-context: bench
`, api)
}
