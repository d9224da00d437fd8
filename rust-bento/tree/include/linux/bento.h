/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the rest of the kernel asks of the Bento core.
 */
#ifndef _LINUX_BENTO_H
#define _LINUX_BENTO_H

#include <linux/types.h>
#include <uapi/linux/bento.h>

struct file;

/**
 * bento_upgrade_file - replace the code of the mount that a file is of
 * @file: An open file.
 * @uarg: The request; what is known of the outcome is stored there.
 * @usize: Size of the request, in bytes.
 *
 * This is what the ioctl and the system call have in common. It checks the
 * privilege itself. It may sleep, and takes the mount's s_umount.
 *
 * Return: 0, -EINVAL if @file is no regular file or directory of a Bento
 * mount, and else as in bento_upgrade(2).
 */
int bento_upgrade_file(struct file *file, struct bento_upgrade __user *uarg,
		       size_t usize);

#endif /* _LINUX_BENTO_H */
