#!/bin/bash
# Compares, flow by flow, the bytes that pcap2stream's reassembly finds in captures with those that
# tcpflow(1) finds. Only flows that the capture has from their SYN and without a gap are compared:
# tcpflow fills gaps with zeros. Where the two differ tshark(1) decides: a flow in which it finds the
# same bytes as we do is counted as "tshark agrees". Figures: compare_with_tcpflow.md.
#
# Usage: compare_with_tcpflow.sh [--verbose] <flow_digests> <capture or directory> …
#        compare_with_tcpflow.sh [--verbose] <flow_digests> --fetch
#
# <flow_digests> is the program built from tests/client/pcap2stream. --fetch downloads the
# captures that come with Debian's source packages to a temporary directory (needs deb-src access).
# Exit: 0 no difference that tshark does not settle for us, 1 differences, 64 usage.
set -euo pipefail

packages=(ndpi wireshark tcpflow tcpdump libpcap)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

usage() {
  sed -n '7,8s/^# //p' "${BASH_SOURCE[0]}" >&2
  exit 64
}

# The original tarballs into $work/captures, with an apt configuration of our own.
fetch() {
  mkdir -p "$work"/apt/{lists/partial,cache/archives/partial} "$work/source" "$work/captures"
  echo 'deb-src http://deb.debian.org/debian bookworm main' > "$work/apt/sources.list"
  cat > "$work/apt/apt.conf" <<EOF
Dir::Etc::SourceList "$work/apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$work/apt/lists";
Dir::Cache "$work/apt/cache";
APT::Sandbox::User "root";
EOF
  export APT_CONFIG=$work/apt/apt.conf
  apt-get -qq update
  # Old Debian patches may be gone from the mirror; only the original tarballs matter here.
  (cd "$work/source" && apt-get -qq source --download-only "${packages[@]}") || true
  local tarball
  for tarball in "$work"/source/*.orig.tar.{gz,bz2,xz}; do
    [[ -f $tarball ]] || continue
    local name
    name=$(basename "$tarball")
    mkdir -p "$work/captures/${name%%_*}"
    tar -xf "$tarball" -C "$work/captures/${name%%_*}" --wildcards \
      '*.pcap' '*.pcapng' '*.cap' '*.ntar' '*.dmp' 2> /dev/null || true
  done
}

# Ports and SHA-256 of each flow that tcpflow finds.
tcpflow_digests() {
  local out=$work/flows
  rm -rf "$out"
  mkdir "$out"
  (cd "$out" && timeout 120 tcpflow -q -m 2147483647 -r "$1" -o . -T '%a-%b%C%c' -X /dev/null) \
    > "$work/tcpflow.log" 2>&1 || return 1
  find "$out" -maxdepth 1 -type f -name '[0-9]*-[0-9]*' -exec sha256sum {} + |
    sed -E 's|^([0-9a-f]+) +.*/0*([0-9]+)-0*([0-9]+)[^/]*$|\2 \3 \1|'
}

# A line per flow: equal, differs or a reason to skip it, and the flow.
compare_flows() {
  awk -v ours="$work/ours" '
    FILENAME != ours { theirs[$0] = 1; next }
    $7 != "syn" { print "no-syn", $0; next }
    $6 != 0 { print "gap", $0; next }
    { print (($2 " " $4 " " $8) in theirs ? "equal" : "differs"), $0 }
  ' "$work/theirs" "$work/ours"
}

# Whether tshark finds the bytes with this SHA-256 in one of the streams between two end points.
tshark_agrees() {
  local file=$1 source=$2 source_port=$3 destination=$4 destination_port=$5 digest=$6 ip=ip stream
  if [[ $source == *:* ]]; then ip=ipv6; fi
  for stream in $(tshark -r "$file" -T fields -e tcp.stream -Y "$ip.src == $source &&
    $ip.dst == $destination && tcp.srcport == $source_port && tcp.dstport == $destination_port" \
    2> /dev/null | sort -u); do
    tshark -r "$file" -q -z "follow,tcp,raw,$stream" 2> /dev/null > "$work/followed" || continue
    # Hexadecimal lines; those of the side called Node 1 are indented by a tab.
    for side in '^[0-9a-f]+$' $'^\t[0-9a-f]+$'; do
      if [[ $(grep -E "$side" "$work/followed" | tr -d '\t\n' | xxd -r -p | sha256sum) == "$digest "* ]]
      then return 0; fi
    done
  done
  return 1
}

declare -A total=([files]=0 [unreadable]=0 [tcpflow-failed]=0 [equal]=0 [differs]=0
  [tshark-agrees]=0 [no-syn]=0 [gap]=0)

compare_file() {
  local file=$1 verdict flow
  local -A count=([equal]=0 [differs]=0 [tshark-agrees]=0 [no-syn]=0 [gap]=0)
  total[files]=$((total[files] + 1))
  if ! "$flow_digests" "$file" > "$work/ours" 2> "$work/error"; then
    total[unreadable]=$((total[unreadable] + 1))
    if $verbose; then echo "$file: skipped: $(tail -n 1 "$work/error")"; fi
    return
  fi
  if ! tcpflow_digests "$file" > "$work/theirs"; then
    total[tcpflow-failed]=$((total[tcpflow-failed] + 1))
    if $verbose; then echo "$file: skipped: $(tail -n 1 "$work/tcpflow.log")"; fi
    return
  fi
  while read -r verdict flow; do
    # The fields of a line of flow_digests.
    read -r source source_port destination destination_port _ _ _ digest <<< "$flow"
    if [[ $verdict == differs ]] && tshark_agrees "$file" "$source" "$source_port" \
      "$destination" "$destination_port" "$digest"; then
      verdict=tshark-agrees
    fi
    count[$verdict]=$((count[$verdict] + 1))
    total[$verdict]=$((total[$verdict] + 1))
    if [[ $verdict == differs ]]; then echo "$file: differs: $flow"; fi
  done < <(compare_flows)
  if $verbose || ((count[differs] > 0)); then
    echo "$file: equal ${count[equal]}, tshark agrees ${count[tshark-agrees]}," \
      "differing ${count[differs]}, skipped: no SYN ${count[no-syn]}, gap ${count[gap]}"
  fi
}

verbose=false
if [[ ${1:-} == --verbose ]]; then
  verbose=true
  shift
fi
(($# >= 2)) || usage
flow_digests=$(realpath "$1")
shift
if [[ $1 == --fetch ]]; then
  fetch
  set -- "$work/captures"
fi

while IFS= read -r -d '' file; do
  compare_file "$(realpath "$file")"
done < <(find "$@" -type f -print0 | sort -z)

echo "captures ${total[files]}, of them not read to the end ${total[unreadable]}," \
  "tcpflow failed ${total[tcpflow-failed]}"
echo "flows: equal ${total[equal]}, tshark agrees ${total[tshark-agrees]}, differing" \
  "${total[differs]}, skipped: no SYN ${total[no-syn]}, gap ${total[gap]}"
((total[differs] == 0 && total[equal] + total[tshark-agrees] > 0))
