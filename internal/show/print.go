// SPDX-License-Identifier: Apache-2.0

package show

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// ErrOutput says that there is no such output form.
var ErrOutput = errors.New("--output must be wide, json or name")

const none = "<none>"

// PrintPods writes pods in an output form: "", wide, name or json.
func PrintPods(w io.Writer, output string, pods []Pod) error {
	switch output {
	case "json":
		return printJSON(w, pods)
	case "name":
		for _, p := range pods {
			fmt.Fprintln(w, p.Key())
		}
		return nil
	case "", "wide":
	default:
		return fmt.Errorf("output %q: %w", output, ErrOutput)
	}
	rows := [][]string{{"NAMESPACE", "NAME", "NODE", "ADDRESSES"}}
	if output == "wide" {
		rows[0] = append(rows[0], "NETNS", "VETH", "MTU", "PIDS")
	}
	for _, p := range pods {
		addresses := strings.Join(p.Addresses, ",")
		if p.HostNetwork {
			addresses = "<node's own>"
		}
		row := []string{p.Namespace, p.Name, p.Node, cmp.Or(addresses, none)}
		if output == "wide" {
			row = append(row, cmp.Or(p.Netns, none), cmp.Or(p.veth(), none), cmp.Or(number(p.MTU), none), cmp.Or(numbers(p.Processes), none))
		}
		rows = append(rows, row)
	}
	return printTable(w, rows)
}

func (p Pod) veth() string {
	if p.Bridge != "" {
		return p.Veth + "@" + p.Bridge
	}
	return p.Veth
}

// PrintRoutes writes routes in an output form: "", wide or json.
func PrintRoutes(w io.Writer, output string, routes []Route) error {
	switch output {
	case "json":
		return printJSON(w, routes)
	case "", "wide":
	default:
		return fmt.Errorf("output %q: %w", output, ErrOutput)
	}
	rows := [][]string{{"NODE", "DESTINATION", "VIA", "DEVICE", "TUNNEL", "LEADS TO"}}
	if output == "wide" {
		rows[0] = append(rows[0], "KIND", "MTU", "SOURCE", "BY")
	}
	for _, r := range routes {
		row := []string{r.Node, r.Destination, cmp.Or(r.Via, none), r.Device, cmp.Or(r.Tunnel, none), cmp.Or(r.leadsTo(), none)}
		if output == "wide" {
			row = append(row, r.Kind, number(r.MTU), cmp.Or(r.Source, none), r.Protocol)
		}
		rows = append(rows, row)
	}
	return printTable(w, rows)
}

func (r Route) leadsTo() string {
	switch {
	case r.Pod != "":
		return "pod " + r.Pod
	case r.Peer != "":
		return "pods of " + r.Peer
	}
	return ""
}

// Filter keeps the pods of a namespace (empty: of all) that have one of some names (none: all).
func Filter(pods []Pod, namespace string, names []string) []Pod {
	return slices.DeleteFunc(pods, func(p Pod) bool {
		return namespace != "" && p.Namespace != namespace ||
			len(names) > 0 && !slices.Contains(names, p.Name) && !slices.Contains(names, p.Key())
	})
}

func printJSON(w io.Writer, list any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(list)
}

func printTable(w io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func numbers(list []int) string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}
