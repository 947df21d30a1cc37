#!/bin/bash
# lint_deb.sh OUTPUT: lintian over the packages that build_deb.sh made there.
set -euo pipefail
as_root=()
[ "$(id -u)" -ne 0 ] || as_root=(--allow-root)
exec lintian "${as_root[@]}" --fail-on error,warning "$1"/packages/*.changes
