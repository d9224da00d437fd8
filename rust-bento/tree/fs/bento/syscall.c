// SPDX-License-Identifier: GPL-2.0
/*
 * bento_upgrade(2)
 */

#include <linux/bento.h>
#include <linux/errno.h>
#include <linux/file.h>
#include <linux/syscalls.h>

/**
 * sys_bento_upgrade - replace the code of a mounted Bento file system
 * @fd: A regular file or directory of the mount.
 * @uarg: The request; see struct bento_upgrade.
 * @usize: Its size, in bytes.
 *
 * Does what the ioctl BENTO_IOC_UPGRADE does. The file pins the mount
 * meanwhile.
 *
 * Return: 0, or a negative error as in bento_upgrade(2).
 */
SYSCALL_DEFINE3(bento_upgrade, int, fd, struct bento_upgrade __user *, uarg,
		size_t, usize)
{
	CLASS(fd, f)(fd);

	if (fd_empty(f))
		return -EBADF;
	return bento_upgrade_file(fd_file(f), uarg, usize);
}
