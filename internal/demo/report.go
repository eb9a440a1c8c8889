// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"strings"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/explain"
	"eastwest/internal/tool/request"
	"eastwest/internal/tool/resolve"
)

// Report is what the demo saw. Fields are only ever added to its JSON form.
type Report struct {
	Service string   `json:"service"` // namespace/name
	Address string   `json:"address"` // virtual address:port
	Servers []Server `json:"servers"`
	Clients []Client `json:"clients"`
}

// Server is a pod behind the Service.
type Server struct {
	Pod     string `json:"pod"`
	Node    string `json:"node"`
	Address string `json:"address"`
}

// Client is a pod that asked, with what it saw.
type Client struct {
	Pod      string          `json:"pod"`
	Node     string          `json:"node"`
	Address  string          `json:"address"`
	DNS      *resolve.Answer `json:"dns,omitempty"`
	Requests *request.Report `json:"requests,omitempty"`
	Path     *explain.Path   `json:"path,omitempty"`
	Problems []string        `json:"problems,omitempty"`
}

func newReport(service *corev1.Service, servers []corev1.Pod) *Report {
	r := &Report{
		Service: service.Namespace + "/" + service.Name,
		Address: fmt.Sprintf("%s:%d", service.Spec.ClusterIP, service.Spec.Ports[0].Port),
	}
	for _, pod := range servers {
		r.Servers = append(r.Servers, Server{Pod: pod.Name, Node: pod.Spec.NodeName, Address: pod.Status.PodIP})
	}
	return r
}

func (c *Client) problem(format string, args ...any) {
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

// Problems returns what did not work, each with the client that saw it.
func (r *Report) Problems() []string {
	var out []string
	for _, c := range r.Clients {
		for _, text := range c.Problems {
			out = append(out, fmt.Sprintf("from node %s: %s", c.Node, text))
		}
	}
	return out
}

// String prints the Service with its pods, and a section for each client.
func (r *Report) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Service %s at %s\n\n", r.Service, r.Address)
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  POD\tNODE\tADDRESS\n")
	for _, s := range r.Servers {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", s.Pod, s.Node, s.Address)
	}
	w.Flush()
	for _, c := range r.Clients {
		fmt.Fprintf(&out, "\nFrom pod %s (%s) on node %s\n", c.Pod, c.Address, c.Node)
		r.writeDNS(&out, c)
		r.writeRequests(&out, c)
		if c.Path != nil {
			out.WriteString("\n  path\n" + indent(c.Path.String(), "  "))
		}
	}
	if problems := r.Problems(); len(problems) > 0 {
		fmt.Fprintf(&out, "\nProblems\n%s", indent(strings.Join(problems, "\n"), "  "))
	}
	return out.String()
}

func (r *Report) writeDNS(out *strings.Builder, c Client) {
	if c.DNS == nil {
		return
	}
	if len(c.DNS.Records) == 0 {
		out.WriteString("\n" + indent(c.DNS.String(), "  "))
		return
	}
	for _, record := range c.DNS.Records {
		fmt.Fprintf(out, "\n  name   %s → %s %s (answered by %s)\n", record.Name, record.Type, record.Data, c.DNS.Server)
	}
}

func (r *Report) writeRequests(out *strings.Builder, c Client) {
	if c.Requests == nil {
		return
	}
	fmt.Fprintf(out, "\n  %d requests to %s: %d answered, %d failed\n", c.Requests.Requests, c.Requests.Target,
		c.Requests.Requests-c.Requests.Failed(), c.Requests.Failed())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  ANSWERS\tPOD\tNODE\n")
	for _, s := range r.Servers {
		fmt.Fprintf(w, "  %d\t%s\t%s\n", c.Requests.Hosts[s.Pod], s.Pod, s.Node)
	}
	w.Flush()
}

func indent(text, by string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(by + strings.TrimRight(line, "\n") + "\n")
	}
	return out.String()
}
