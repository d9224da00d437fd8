/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Replacing the code of a mounted Bento file system.
 *
 * See Documentation/filesystems/bento.rst and bento_upgrade(2).
 */
#ifndef _UAPI_LINUX_BENTO_H
#define _UAPI_LINUX_BENTO_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Bytes in the name of a format or an implementation, NUL included. */
#define BENTO_NAME_SIZE		32

/* Check everything that can be checked beforehand, and change nothing. */
#define BENTO_UPGRADE_DRY_RUN	0x00000001

/**
 * struct bento_upgrade - a request to replace a mounted file system's code
 * @size: In. Size of this structure as the caller knows it, in bytes. It must
 *	equal the size that the call itself gives: the third argument of
 *	bento_upgrade(2), or the one in the ioctl's number.
 * @flags: In. BENTO_UPGRADE_DRY_RUN or 0.
 * @name: In. The implementation to switch to, ended by NUL.
 * @from_name: Out. The implementation that served before, ended by NUL.
 * @from_version: Out. Version of the implementation that served before.
 * @to_version: Out. Version of @name.
 * @retries: Out. How often the gate was opened again because the operations
 *	inside did not leave it in time.
 * @__pad: In. Must be 0.
 * @stage_ns: Out. Building the successor while the predecessor serves, in
 *	nanoseconds, as all that follows.
 * @drain_ns: Out. Waiting for the operations inside to leave, in the last try.
 * @transfer_ns: Out. Handing the state over.
 * @switch_ns: Out. Putting the successor in place, and opening the gate.
 * @pause_ns: Out. From closing the gate to opening it, in the last try.
 * @longest_wait_ns: Out. The longest that one operation waited at the gate,
 *	over all tries.
 *
 * The kernel takes a smaller structure, down to BENTO_UPGRADE_SIZE_VER0, and
 * then returns what fits; it takes a larger one if what it does not know is 0
 * (E2BIG otherwise), and returns 0 there. What is marked "Out" is ignored on
 * the way in, and valid if the call succeeded. After a dry run the times and
 * @retries are 0.
 */
struct bento_upgrade {
	__u32 size;
	__u32 flags;
	char name[BENTO_NAME_SIZE];
	char from_name[BENTO_NAME_SIZE];
	__u32 from_version;
	__u32 to_version;
	__u32 retries;
	__u32 __pad;
	__aligned_u64 stage_ns;
	__aligned_u64 drain_ns;
	__aligned_u64 transfer_ns;
	__aligned_u64 switch_ns;
	__aligned_u64 pause_ns;
	__aligned_u64 longest_wait_ns;
};

/* Size of the structure as it was first published. */
#define BENTO_UPGRADE_SIZE_VER0	136

/*
 * On any regular file or directory of the mount. The kernel looks at the type
 * and the number only, and takes the size as that of the structure.
 */
#define BENTO_IOC_MAGIC		0xBE
#define BENTO_IOC_UPGRADE	_IOWR(BENTO_IOC_MAGIC, 1, struct bento_upgrade)

#endif /* _UAPI_LINUX_BENTO_H */
