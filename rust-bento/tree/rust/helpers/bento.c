// SPDX-License-Identifier: GPL-2.0

#include <linux/buffer_head.h>

__rust_helper void rust_helper_get_bh(struct buffer_head *bh)
{
	get_bh(bh);
}
