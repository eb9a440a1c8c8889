// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"eastwest/internal/table"
)

func TestExplain(t *testing.T) {
	pod := table.Object{Kind: "Pod", Namespace: "default", Name: "db-0"}
	rows := testRows()
	for i := range rows {
		if rows[i].Object.Name == "db" {
			rows[i].Endpoints[0].Pod = pod.Name
		}
	}
	z := testZone(t, rows...)
	db := objectOf("default", "db")
	tests := []struct {
		name  string
		qtype uint16
		want  Explanation
	}{
		{"db-0.db.default.svc.cluster.local", mdns.TypeA, Explanation{Ours: true, Rcode: "NOERROR", Records: []Explained{
			{"db-0.db.default.svc.cluster.local.\t30\tIN\tA\t10.244.1.5", db, pod}}}},
		{"5.1.244.10.in-addr.arpa", mdns.TypePTR, Explanation{Ours: true, Rcode: "NOERROR", Records: []Explained{
			{"5.1.244.10.in-addr.arpa.\t30\tIN\tPTR\tdb-0.db.default.svc.cluster.local.", db, pod}}}},
		{"outside.default.svc.cluster.local", mdns.TypeA, Explanation{Ours: true, Rcode: "NOERROR", Records: []Explained{
			{"outside.default.svc.cluster.local.\t30\tIN\tCNAME\twww.example.com.", objectOf("default", "outside"), table.Object{}}}}},
		{"gone.default.svc.cluster.local", mdns.TypeA, Explanation{Ours: true, Rcode: "NXDOMAIN"}},
		{"example.com", mdns.TypeA, Explanation{}},
	}
	for _, tt := range tests {
		got, err := z.Explain(tt.name, tt.qtype)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
