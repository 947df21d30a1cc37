#!/bin/bash
# exposure.sh SERVICE PACKETS_DROP_IN: how much systemd thinks the unit exposes, on its scale from 0
# to 10; at most 1.5, and 2.0 with what capturing packets needs.
set -euo pipefail
service=$1
drop_in=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# rate UNIT TENTHS
rate() {
  local text
  text=$(systemd-analyze security --offline=true --no-pager --threshold="$2" "$1") || {
    printf '%s\n' "$text"
    exit 1
  }
  printf '%s\n' "$text" | tail -1
}

mkdir "$work/plain" "$work/packets"
cp "$service" "$work/plain/stream-serverd.service"
# Offline, systemd-analyze reads no drop-ins: what stands later wins or adds, as it does there.
cat "$service" "$drop_in" >"$work/packets/stream-serverd.service"
rate "$work/plain/stream-serverd.service" 15
rate "$work/packets/stream-serverd.service" 20
