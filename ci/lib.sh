# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts share: where things lie, how a step speaks and how it stops.
# Sourced, never run.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Everything that several clones can share: downloads, tool tree, base kernel, ccache, guest image.
BENTO_CACHE=${BENTO_CACHE:-$HOME/.cache/bento}
# The patched tree and the build folders. A second one is made by `cp -a` of a first one.
BENTO_WORK=${BENTO_WORK:-$BENTO_CACHE/work}
export ROOT BENTO_CACHE BENTO_WORK

# The Debian release that the tools and the guest come from, and the kernel that we patch.
SUITE=trixie
BASE_VERSION=7.3

# Raise these by hand when a script changes what it makes without changing its inputs.
TOOLS_KEY=1
export SUITE BASE_VERSION TOOLS_KEY

say() { printf '== %s\n' "$*" >&2; }

# die CAUSE [REMEDY]
die() {
	printf 'error: %s\n' "$1" >&2
	[ $# -lt 2 ] || printf 'remedy: %s\n' "$2" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" = 0 ] || die "$1 needs root" "run it as root, or set BENTO_CACHE to a cache where this is made already"
}

# lock NAME: one process at a time, until this shell ends.
lock() {
	local fd
	mkdir -p "$BENTO_CACHE/lock"
	exec {fd}>"$BENTO_CACHE/lock/$1"
	flock -n "$fd" && return
	say "waiting for another process to finish: $1"
	flock "$fd"
}

# quietly LOG COMMAND...: output goes to LOG, a line of progress every ten seconds to the terminal, the
# end of the log too if the command fails.
quietly() {
	local log=$1 start=$SECONDS pid status=0
	shift
	mkdir -p "$(dirname "$log")"
	"$@" >"$log" 2>&1 &
	pid=$!
	# shellcheck disable=SC2064
	trap "kill $pid 2>/dev/null" INT TERM
	local next=$((SECONDS + 10))
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		if [ "$SECONDS" -ge "$next" ]; then
			next=$((SECONDS + 10))
			printf '   %4d s  %s\n' $((SECONDS - start)) "$(tail -n1 "$log" | cut -c1-90)" >&2
		fi
	done
	wait "$pid" || status=$?
	trap - INT TERM
	[ "$status" = 0 ] || {
		tail -n 30 "$log" >&2
		printf 'the whole log: %s\n' "$log" >&2
	}
	return "$status"
}

# The mirror that the host itself uses; the project names none.
mirror() {
	local name uri
	name=$(. /etc/os-release && echo "$VERSION_CODENAME")
	uri=$(mirror_of "$name")
	if [ -z "$uri" ] && [ "$(id -u)" = 0 ]; then
		# A host that has never asked for its lists does not know its indexes
		apt-get -q update >/dev/null 2>&1 || :
		uri=$(mirror_of "$name")
	fi
	[ -n "$uri" ] || die "apt on this host has no source for $name" \
		"put a Debian mirror into /etc/apt/sources.list, and see that apt-get update works"
	echo "$uri"
}

mirror_of() {
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(URI)' 'Created-By: Packages' |
		sed -nE "s,/dists/($1|stable|oldstable)/.*,,p" | head -n 1
}

# The host's proxy settings for apt, as options for mmdebstrap.
apt_options() {
	apt-config dump --format '%f "%v";%n' | grep -iE '^Acquire::(https?::(Proxy|CaInfo|Verify)|Retries)' || true
}
