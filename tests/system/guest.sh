#!/bin/bash
# A Debian system of our own with systemd as its first process, for tests of units and packages.
#
#   guest.sh tree TREE                      make the system's tree, unless it is there
#   guest.sh layer BUILD LAYER              what `cmake --install BUILD` installs, into LAYER
#   guest.sh packages DEB LAYER             what build_deb.sh left in DEB, into LAYER/packages
#   guest.sh run TREE LAYER RESULTS TEST    boot it with LAYER (a directory, laid over the tree) and
#                                           run the Python tests guest/TEST.py inside, with
#                                           RESTARTS and CONNECTIONS if they are set
#
# As root, with mmdebstrap and systemd-nspawn. Works where systemd is not the host's first process,
# as in a container or in CI. Nothing of what the guest does outlives it, except RESULTS.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
packages=systemd,systemd-sysv,dbus,iproute2,procps,python3,netcat-openbsd
packages+=,libedit2,libfmt9,libpcap0.8,libseccomp2,libsqlite3-0,libssl3,libtins4.0,libtomlplusplus3
seconds_to_run=${GUEST_SECONDS:-300}

make_tree() {
  local tree=$1
  mkdir -p "$(dirname "$tree")"
  exec 9>"$tree.lock"
  flock 9
  [ "$(cat "$tree/etc/guest-packages" 2>/dev/null)" = "$packages" ] && return
  rm -rf "$tree" "$tree.new"
  mmdebstrap --quiet --variant=minbase --include="$packages" bookworm "$tree.new"
  echo "$packages" >"$tree.new/etc/guest-packages"
  : >"$tree.new/etc/machine-id"
  mkdir "$tree.new/tests" "$tree.new/results"
  mv "$tree.new" "$tree"
}

install_layer() {
  rm -rf "$2"
  DESTDIR=$(realpath -m "$2") cmake --install "$1" >/dev/null
}

# Beside the packages lies what their test compares with.
packages_layer() {
  rm -rf "$2"
  mkdir -p "$2/packages"
  cp "$1"/packages/*.deb "$here/../../README.md" "$here/../../etc/stream-serverd.toml" "$2/packages"
}

# In a mount namespace of its own: TREE and LAYER below, what is written in memory above.
boot() {
  local tree=$1 layer=$2 results=$3 work=$3/guest
  mount -t tmpfs -o mode=755 tmpfs "$work"
  mkdir "$work/upper" "$work/work" "$work/root"
  mount -t overlay overlay \
    -o "lowerdir=$layer:$tree,upperdir=$work/upper,workdir=$work/work" "$work/root"
  install -m 644 "$here/guest/guest-test.service" "$work/root/etc/systemd/system/"
  ln -sf ../guest-test.service "$work/root/etc/systemd/system/multi-user.target.wants/"
  # nspawn wants to keep its records here, and to be itself in /run of a host with systemd.
  mount -t tmpfs tmpfs /run
  mkdir -p /run/systemd
  exec timeout -k 5 "$seconds_to_run" systemd-nspawn --quiet --directory="$work/root" --boot \
    --machine="guest-$$" --register=no --keep-unit --private-network --console=pipe \
    --capability=all --system-call-filter='landlock_create_ruleset landlock_add_rule landlock_restrict_self' \
    --bind-ro="$here/guest:/tests" --bind="$results:/results" </dev/null
}

# Where systemd has control groups: the one hierarchy of cgroups(7) version 2, or its own two.
control_groups() {
  local hierarchy
  for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ ! -d "$hierarchy" ] || printf '%s\n' "$hierarchy"
  done
  [ ! -e /sys/fs/cgroup/cgroup.controllers ] || echo /sys/fs/cgroup
}

# The guest's control groups hang below one of ours.
run() {
  local tree results layer test=$4 group=stream-serverd-test.$$ hierarchies hierarchy status=0
  mapfile -t hierarchies < <(control_groups)
  tree=$(realpath "$1")
  layer=$(realpath "$2")
  rm -rf "$3"
  mkdir -p "$3/guest"
  results=$(realpath "$3")
  printf '%s\n' "$test" >"$results/test"
  printf 'RESTARTS=%s\nCONNECTIONS=%s\n' "${RESTARTS:-5}" "${CONNECTIONS:-6}" >"$results/environment"
  for hierarchy in "${hierarchies[@]}"; do mkdir "$hierarchy/$group"; done
  (
    for hierarchy in "${hierarchies[@]}"; do
      echo "$BASHPID" >"$hierarchy/$group/cgroup.procs"
    done
    exec unshare --mount -- "$0" boot "$tree" "$layer" "$results"
  ) >"$results/console" 2>&1 || status=$?
  for hierarchy in "${hierarchies[@]}"; do
    find "$hierarchy/$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
  if [ ! -s "$results/log" ]; then
    printf 'The guest ended (%s) without a result; its console:\n' "$status"
    cat "$results/console"
    return 1
  fi
  cat "$results/log"
  [ "$(cat "$results/status" 2>/dev/null)" = 0 ]
}

verb=$1
shift
case $verb in
  tree) make_tree "$@" ;;
  layer) install_layer "$@" ;;
  packages) packages_layer "$@" ;;
  run) run "$@" ;;
  boot) boot "$@" ;;
  *) exit 64 ;;
esac
