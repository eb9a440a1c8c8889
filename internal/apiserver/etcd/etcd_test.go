// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// What was acknowledged is there after the member was closed and started again on the same folder.
func TestMemberKeepsItsData(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	for _, step := range []func(*clientv3.Client) error{
		func(c *clientv3.Client) error { _, err := c.Put(ctx, "key", "value"); return err },
		func(c *clientv3.Client) error {
			have, err := c.Get(ctx, "key")
			if err == nil && (len(have.Kvs) != 1 || string(have.Kvs[0].Value) != "value") {
				t.Errorf("after the restart key is %v", have.Kvs)
			}
			return err
		},
	} {
		member, err := Start(ctx, Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{member.Endpoint()}, DialTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if err := step(client); err != nil {
			t.Fatal(err)
		}
		client.Close()
		member.Close()
	}
}
