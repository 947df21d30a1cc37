#!/bin/bash
# Makes demo.pcap and demo.sha256: real TCP traffic of three hosts, captured where all of it passes,
# with retransmitted and reordered segments. Needs root, iproute2, nftables, tcpdump, tshark, socat.
# Usage: make_demo_capture.sh [directory]     (default: where this script is)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:-$here}
work=$(mktemp -d)
sender=demo-sender-$$
receiver=demo-receiver-$$
children=()

cleanup() {
  for pid in "${children[@]}"; do kill "$pid" 2>/dev/null || true; done
  ip netns delete "$sender" 2>/dev/null || true
  ip netns delete "$receiver" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

in_sender() { ip netns exec "$sender" "$@"; }
in_receiver() { ip netns exec "$receiver" "$@"; }

# Two hosts and a cable. Without segmentation offload a segment is a packet, as on a real wire.
make_network() {
  ip netns add "$sender"
  ip netns add "$receiver"
  ip link add demo0 netns "$sender" type veth peer name demo0 netns "$receiver"
  for host in 11 12 13; do in_sender ip address add 10.77.0.$host/24 dev demo0; done
  in_receiver ip address add 10.77.0.1/24 dev demo0
  for where in in_sender in_receiver; do
    $where ip link set demo0 mtu 1000 gso_max_segs 1 up
    $where sysctl -qw net.ipv4.tcp_congestion_control=reno net.ipv6.conf.all.disable_ipv6=1 || true
  done
}

# Reordering: full packets of the third host take a slow queue. The first of a write finds it empty,
# the second has to wait for 2 ms and is overtaken by the short one that follows.
reorder_on_the_way() {
  in_sender tc qdisc add dev demo0 root handle 1: htb default 1
  in_sender tc class add dev demo0 parent 1: classid 1:1 htb rate 1gbit quantum 20000
  in_sender tc class add dev demo0 parent 1: classid 1:2 htb rate 4mbit burst 1 quantum 2000
  in_sender nft -f - <<'RULES'
table ip demo {
  chain out {
    type filter hook output priority 0
    ip saddr 10.77.0.13 tcp dport 9000 meta length > 900 meta priority set 1:2
  }
}
RULES
}

# Loss: packets vanish behind tcpdump's tap, so the capture has both them and their repetition.
lose_after_the_capture() {
  in_receiver nft -f - <<'RULES'
table ip demo {
  chain in {
    type filter hook input priority 0
    tcp dport 9000 meta length > 500 numgen random mod 12 == 0 drop
  }
}
RULES
}

make_content() {
  for line in {1..700}; do
    echo "line $line of a text that one host sends to the capture server, to be found again whole"
  done > "$work/11"
  head -c 40000 /dev/urandom > "$work/12"
  for reading in {1..500}; do
    echo "{\"reading\":$reading,\"value\":$((RANDOM % 1000)),\"unit\":\"mV\"}"
  done > "$work/13"
}

connect_from() { in_sender socat -u STDIN "TCP:10.77.0.1:9000,bind=10.77.0.$1,nodelay"; }

# Line by line, and now and then 60 lines at once, which is two full packets and a short one.
small_writes() {
  local lines
  while mapfile -t -n 60 lines && ((${#lines[@]} > 0)); do
    printf '%s\n' "${lines[@]}"
    sleep 0.02
    for _ in {1..10}; do
      read -r line || return 0
      echo "$line"
    done
    sleep 0.02
  done < "$work/13"
}

# Each begins a moment after the other, so that the order of the hosts is always the same.
send_all() {
  connect_from 11 < "$work/11" &
  local first=$!
  sleep 0.05
  connect_from 12 < "$work/12" &
  local second=$!
  sleep 0.05
  small_writes | connect_from 13 &
  wait "$first" "$second" $!
}

wait_for() {
  for _ in {1..100}; do
    if "$@" > /dev/null 2>&1; then return; fi
    sleep 0.05
  done
  echo "make_demo_capture.sh: gave up waiting for: $*" >&2
  exit 1
}

listening() { in_receiver ss -Hltn 'sport = :9000' | grep -q LISTEN; }

capture() {
  # In this namespace nothing else happens; -U, so that nothing waits in a buffer at the end.
  ip netns exec "$receiver" tcpdump -q -i demo0 -U -B 4096 -w "$work/demo.pcap" tcp port 9000 \
    2> "$work/tcpdump.log" &
  children+=($!)
  local tcpdump=$!  # ip-netns(8) has become tcpdump
  wait_for grep -q 'listening on' "$work/tcpdump.log"
  ip netns exec "$receiver" socat -u TCP-LISTEN:9000,fork,reuseaddr OPEN:/dev/null &
  children+=($!)
  wait_for listening
  send_all
  wait_for fins_captured
  kill "$tcpdump"
  wait "$tcpdump" || true
}

fins_captured() {
  [[ $(tshark -r "$work/demo.pcap" -Y 'tcp.flags.fin == 1 && tcp.dstport == 9000' 2>/dev/null |
    wc -l) -ge 3 ]]
}

count() { tshark -r "$work/demo.pcap" -Y "$1" 2>/dev/null | wc -l; }

write_digests() {
  for host in 11 12 13; do
    echo "$(sha256sum < "$work/$host" | cut -d' ' -f1) $(stat -c %s "$work/$host") 10.77.0.$host"
  done > "$target/demo.sha256"
}

make_network
make_content
reorder_on_the_way
lose_after_the_capture
capture
retransmissions=$(count tcp.analysis.retransmission)
out_of_order=$(count tcp.analysis.out_of_order)
lost=$(count tcp.analysis.lost_segment)
echo "retransmissions $retransmissions, out of order $out_of_order, lost $lost," \
  "$(stat -c %s "$work/demo.pcap") bytes"
if ((retransmissions == 0 || out_of_order == 0)); then
  echo "make_demo_capture.sh: chance was against it, run it again" >&2
  exit 1
fi
cp "$work/demo.pcap" "$target/demo.pcap"
write_digests
