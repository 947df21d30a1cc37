#!/bin/bash
# build_deb.sh SOURCE OUTPUT: the Debian packages of the tree SOURCE, into OUTPUT/packages. Nothing is
# done if they are there and no file of the tree has changed. Wants what debian/control lists.
set -euo pipefail
source=$(realpath "$1")
mkdir -p "$2"
output=$(realpath "$2")
exec 9>"$output/lock"
flock 9
cd "$source"

files() { git ls-files --cached --others --exclude-standard -z -- ':!tests' ':!README.md' ':!dev' ':!.ci'; }

# Deleted files are listed until the deletion is committed.
existing_files() {
  local file
  while IFS= read -r -d '' file; do
    [ ! -f "$file" ] || printf '%s\0' "$file"
  done < <(files)
}

# Whoever adds a library adds it to ./dev.
libraries=$(sed -n '/^build_packages=(/,/)$/p' dev | grep -o 'lib[a-z0-9.+-]*-dev' | paste -sd, |
  sed 's/,/, /g')

state=$({ echo "$libraries" && existing_files | xargs -0 sha256sum; } | sha256sum)
[ "$state" != "$(cat "$output/state" 2>/dev/null)" ] || exit 0
rm -rf "$output/source" "$output/packages" "$output/state"
mkdir -p "$output/source" "$output/packages"
existing_files | xargs -0 cp --parents --preserve=timestamps,mode -t "$output/source"
cd "$output/source"
cp -r etc/packaging/debian debian
sed -i "s/@LIBRARIES@/$libraries/" debian/control

version=$(sed -n 's/^project(.* VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
cat >debian/changelog <<TEXT
stream-serverd ($version) unstable; urgency=medium

  * Version $version.

 -- $(sed -n 's/^Maintainer: //p' debian/control)  $(git -C "$source" log -1 --format=%aD)
TEXT
if ! dpkg-buildpackage --build=binary --no-pre-clean --unsigned-changes >"$output/log" 2>&1; then
  tail -n 60 "$output/log" >&2
  exit 1
fi
mv "$output"/*.deb "$output"/*.changes "$output"/*.buildinfo "$output/packages/"
printf '%s\n' "$state" >"$output/state"
