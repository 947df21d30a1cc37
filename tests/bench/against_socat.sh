#!/bin/bash
# One bulk connection to a file in memory: the stream service against socat with 1 MiB blocks, in
# turns. Needs 6 GB in /dev/shm. Usage: against_socat.sh BIN_DIRECTORY [ROUNDS]
set -euo pipefail

bin=$(cd "$1" && pwd)
rounds=${2:-11}
size=2147483648
work=$(mktemp -d /dev/shm/against-socat-XXXXXX)
cd "$work"
head -c "$size" /dev/urandom >in
"$bin/stream-serverd" --runtime-dir "$work/run" stream 127.0.0.1 17000 1 --output out 2>log &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
until grep -q 'ports up' log; do sleep 0.05; done

now() { date +%s.%N; }
send_to() { socat -u -b 1048576 OPEN:in "TCP:127.0.0.1:$1"; }

for _ in $(seq "$rounds"); do
  rm -f saved
  socat -u -b 1048576 TCP-LISTEN:17100,reuseaddr OPEN:saved,creat &
  receiver=$!
  until ss -Hltn 'sport = :17100' | grep -q .; do sleep 0.02; done
  begin=$(now)
  send_to 17100
  wait "$receiver"
  socat_end=$(now)
  kill -USR1 "$server"
  rm -f out/*
  sleep 0.2
  ours_begin=$(now)
  send_to 17000
  until [ "$(stat -c %s out/* 2>/dev/null)" = "$size" ]; do sleep 0.005; done
  ours_end=$(now)
  awk -v a="$begin" -v b="$socat_end" -v c="$ours_begin" -v d="$ours_end" -v n="$size" \
    'BEGIN { printf "%.3f %.3f %.2f %.2f\n", b - a, d - c, n / 1e9 / (b - a), n / 1e9 / (d - c) }'
done | tee rounds | awk '{ printf "socat %s s (%s GB/s)   ours %s s (%s GB/s)\n", $1, $3, $2, $4 }'

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
printf 'medians: socat %s s, ours %s s\n' "$(cut -d' ' -f1 rounds | median)" \
  "$(cut -d' ' -f2 rounds | median)"
