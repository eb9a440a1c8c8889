#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage.sh: what `make run` says at its end.
cat <<'TEXT'

The cluster "eastwest" is up. Try:

  bin/eastwest kubectl get pods -A -o wide           every pod, and its node
  bin/eastwest node exec eastwest-worker -- ip route  a node's routes
  bin/eastwest node exec eastwest-worker -- nft list ruleset
  bin/eastwest image load FILE                       an image from an archive
  bin/eastwest down                                  removes every trace

kubectl works too: the context eastwest-eastwest is in your kubeconfig.
TEXT
