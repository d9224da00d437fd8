# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Shell part of the tests, in the guest. FS is the type under test, LONG is --long or empty.

: "${FS:=xv6}" "${LONG:=}"

# format [OPTION...] DEVICE
format() {
	case $FS in
	ext4) mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0 -m 0 "$@" ;;
	*) "mkfs.$FS" -q -F -K "$@" ;;
	esac
}

# mounted DEVICE FOLDER. For ext4's option see fs.rs: full_options
mounted() {
	mkdir -p "$2"
	case $FS in
	ext4) mount -t ext4 -o dioread_lock "$1" "$2" ;;
	*) mount -t "$FS" "$1" "$2" ;;
	esac
}

# checked DEVICE: a full check that changes nothing
checked() {
	[ -z "${FSTEST_NO_FSCK:-}" ] || return 0
	out=$("fsck.$FS" -f -n "$1" 2>&1) || {
		echo "$out" | tail -n 20 | sed 's/^/# /'
		return 1
	}
}

# ok NAME COMMAND...: a case that is a command
ok() {
	name=$1
	shift
	if "$@"; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		# The suite that sources this ends with it
		# shellcheck disable=SC2034
		FAILED=1
		return 1
	fi
}
