#!/bin/sh
# What is lost, and what it costs: Hookline beside tcpdump -B 65536 and the npm module cap, the same load by tcpreplay over a
# veth pair between two network namespaces. As root; prints lines `figure <name> <value> <unit>`.
#   bench/capture.sh [--seconds 30] [--rates 50000,100000,200000] [--burst 660000] [--only hookline,tcpdump,cap,filtering,dissecting]
set -eu
cd "$(dirname "$0")/.."
for program in tcpreplay tcpdump capinfos ip; do
  command -v "$program" >/dev/null || { echo "bench/capture.sh needs $program" >&2; exit 2; }
done
.ci/setup
exec node_modules/.bin/node bench/capture.ts "$@"
