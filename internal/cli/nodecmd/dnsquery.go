// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"eastwest/internal/dns"
	"eastwest/internal/node"
)

// queryFlags are what a person writes.
type queryFlags struct {
	kubeconfig, qtype string
	zone              dns.ZoneConfig
	wait              time.Duration
}

func newDNSQuery(s Streams) *cobra.Command {
	f := &queryFlags{}
	cmd := &cobra.Command{
		Use:   "query NAME",
		Short: "Show the records of a cluster name and the object that each came from",
		Long: `Read the cluster's objects, answer a question about a name from them as cluster DNS does, and say which Service, and
which Pod behind it, each record came from. Nothing is asked of a running DNS server. A name without a dot at its end may
be short: SERVICE, SERVICE.NAMESPACE and SERVICE.NAMESPACE.svc mean the name in the cluster's domain.`,
		Example: `  eastwest dns query web.default
  eastwest dns query _http._tcp.web.default.svc.cluster.local. --type SRV --kubeconfig ~/.kube/other`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			return f.run(ctx, s, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster (default: $KUBECONFIG, or ~/.kube/config)")
	flags.StringVarP(&f.qtype, "type", "t", "A", "type of records: A, AAAA, SRV, PTR, CNAME, …")
	flags.StringVar(&f.zone.Domain, "cluster-domain", "cluster.local", "domain of the cluster")
	flags.StringVar((*string)(&f.zone.Pods), "pods", string(dns.PodsInsecure), "pod records: disabled, insecure or verified")
	flags.DurationVar(&f.wait, "timeout", 30*time.Second, "how long to wait for the cluster's objects")
	return cmd
}

func (f *queryFlags) run(ctx context.Context, s Streams, name string) error {
	qtype, ok := mdns.StringToType[strings.ToUpper(f.qtype)]
	if !ok {
		return usageError{fmt.Errorf("--type: %q is no type of records", f.qtype)}
	}
	zone, err := f.load(ctx, s)
	if err != nil {
		return err
	}
	name = fullName(name, f.zone.Domain)
	explained, err := zone.Explain(name, qtype)
	if err != nil {
		return err
	}
	return printExplained(s.Out, name, f.qtype, explained)
}

// load fills a zone from the cluster, once.
func (f *queryFlags) load(ctx context.Context, s Streams) (*dns.Zone, error) {
	api, err := usualClient(f.kubeconfig)
	if err != nil {
		return nil, err
	}
	zone, err := dns.NewZone(f.zone)
	if err != nil {
		return nil, usageError{err}
	}
	names, err := node.NewNetwork(node.NetworkConfig{
		Client: api, NodeName: "dns", Names: zone, NameTTL: 30, NoServices: true, NoRoutes: true, Pods: f.zone.Pods == dns.PodsVerified, Log: logger(s, false),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- names.Run(ctx) }()
	err = names.WaitReady(ctx)
	cancel()
	if ended := <-done; err != nil && !errors.Is(ended, context.Canceled) && !errors.Is(ended, context.DeadlineExceeded) {
		err = ended // the reason that nothing became ready
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's objects from %s: %w", api.Config().Host, err)
	}
	return zone, nil
}

// fullName completes a short name with svc and the domain; addresses become their reverse names.
func fullName(name, domain string) string {
	if reverse, err := mdns.ReverseAddr(name); err == nil {
		return reverse
	}
	domain = strings.Trim(domain, ".")
	switch {
	case strings.HasSuffix(name, "."), strings.HasSuffix(name, "."+domain), strings.HasSuffix(name, ".arpa"):
		return mdns.Fqdn(name)
	case strings.HasSuffix(name, ".svc"), strings.HasSuffix(name, ".pod"):
		return name + "." + domain + "."
	case !strings.Contains(name, "."):
		name += ".default"
	}
	return name + ".svc." + domain + "."
}

func printExplained(out io.Writer, name, qtype string, e dns.Explanation) error {
	if !e.Ours {
		_, err := fmt.Fprintf(out, "%s is no name of the cluster: it is forwarded\n", name)
		return err
	}
	if len(e.Records) == 0 {
		what := "the name exists and has no records of type " + strings.ToUpper(qtype)
		if e.Rcode != mdns.RcodeToString[mdns.RcodeSuccess] {
			what = "no object of the cluster has this name"
		}
		_, err := fmt.Fprintf(out, "%s %s: %s\n", name, e.Rcode, what)
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range e.Records {
		from := "made by the server itself"
		if r.Object.Name != "" {
			from = r.Object.String()
		}
		if r.Target.Name != "" {
			from += ", " + r.Target.String()
		}
		fmt.Fprintf(table, "%s\t# %s\n", strings.ReplaceAll(r.Record, "\t", " "), from)
	}
	return table.Flush()
}
