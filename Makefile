# SPDX-License-Identifier: GPL-2.0
#
# The front door. `make help` lists what there is.

.PHONY: help setup base tree tools linux debug programs guest demo bench bench-upgrade bench-icount test test-long shell series series-check lint clean

help:
	@sed -n 's/^## //p' Makefile

## make demo          set up everything, then: boot, work on xv6, crash check, report
## make test          every test, the long ones in a short form
## make test-long     every test in full, in parts that can be resumed
## make shell         the same VM with a prompt and xv6 mounted
## make linux         base kernel + series -> patched tree -> kernel and modules
## make debug         the same with KASAN, lockdep and other checks, for make test-long
## make programs      mkfs.xv6, fsck.xv6 and what the suites run in the guest
## make guest         the guest's root file system
## make tools         the tool tree (where the host has no Debian 13 tools)
## make bench         file systems beside each other: report, CSV, pictures (QUICK=1: some minutes; ICOUNT=1: instructions)
## make bench-upgrade what programs feel while a file system is replaced: report, CSV, pictures
## make bench-icount  instructions of operations and of an upgrade's steps, by QEMU's count
## make series        write the patch series for upstream to build/series (SIGNOFF=1 signs)
## make series-check  the series against the base: tree id, checkpatch, builds at every step (long)
## make lint          what CI asks of every file

setup:
	@ci/setup

base: setup
	@ci/base

# The patched tree comes first: it is what knows whether the host's own tools will do.
tree: base
	@ci/series.py tree

tools: tree
	@ci/tools

linux: tools
	@ci/kernel qemu

debug: tools
	@ci/kernel debug

programs: tools
	@ci/programs

guest: tools
	@qemu/guest/build

demo: linux guest programs
	@BENTO_BUILT=1 ci/demo

test: linux guest programs
	@BENTO_BUILT=1 ci/run-suites

test-long: linux debug guest programs
	@BENTO_BUILT=1 BENTO_LONG=1 ci/run-suites

shell: linux guest programs
	@ci/shell

bench: tools guest
	@ci/bench $(if $(QUICK),--quick) $(if $(ICOUNT),--icount)

bench-upgrade: linux guest programs
	@ci/bench-upgrade

bench-icount: tools guest programs
	@ci/bench-icount

series: base
	@ci/series.py series $(if $(SIGNOFF),--signoff)

series-check: tools
	@ci/series-check

lint: tools
	@ci/lint

clean:
	rm -rf build target
