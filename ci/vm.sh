# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the suites of the virtual machine share. Sourced by files in ci/suites/.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The file system under test. ext4 tells whether a failure is the test's.
FS=${BENTO_FS:-xv6}
LONG=${BENTO_LONG:+--long}
export FS LONG
SCRATCH=${BENTO_SCRATCH:-}
if [ -z "$SCRATCH" ]; then
	mkdir -p "$BENTO_WORK"
	SCRATCH=$(mktemp -d "$BENTO_WORK/suite-XXXXXX")
	trap 'rm -rf "$SCRATCH"' EXIT
fi

# The runner's callers have built them already
[ -n "${BENTO_BUILT:-}" ] || "$ROOT/ci/programs" 2>"$SCRATCH/programs.log" || {
	cat "$SCRATCH/programs.log" >&2
	exit 1
}

# vm SECONDS [OPTION...] -- COMMAND: in the guest, with FS and LONG set and the module loaded
vm() {
	local timeout=$1 options=()
	shift
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	[ "${BENTO_KERNEL:-qemu}" != debug ] || timeout=$((timeout * 8))
	# Suites that run side by side share the processors
	timeout=$((timeout * ${BENTO_AT_ONCE:-1}))
	"$ROOT/qemu/run" --kernel "${BENTO_KERNEL:-qemu}" --timeout "$timeout" "${options[@]}" -- \
		"export FS=$FS LONG=$LONG; modprobe $FS 2>/dev/null; $*"
}

# stale FILE MIB: a disk full of what an earlier owner left, so that a block that shows too early is seen;
# its first MiB is empty
stale() {
	{ yes 'stale data here' || true; } | head -c $(($2 << 20)) >"$1"
	head -c 1048576 /dev/zero | dd of="$1" conv=notrunc status=none
}

# check NAME COMMAND...: a case that is a command
check() {
	local name=$1
	shift
	if "$@"; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		return 1
	fi
}
