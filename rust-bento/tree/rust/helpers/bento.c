// SPDX-License-Identifier: GPL-2.0

/*
 * What rust/kernel/bento needs of C beyond declared functions: inline functions,
 * macros, and members that sit in unions or depend on the configuration. Those
 * without a C function of their name start with bento_.
 */

#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/exportfs.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/iversion.h>
#include <linux/kdev_t.h>
#include <linux/pagemap.h>
#include <linux/percpu-refcount.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

__rust_helper void rust_helper_bento_add_blocks(struct inode *inode, s64 blocks)
{
	spin_lock(&inode->i_lock);
	inode->i_blocks += blocks << (inode->i_blkbits - SECTOR_SHIFT);
	spin_unlock(&inode->i_lock);
}

__rust_helper struct inode *
rust_helper_bento_alloc_inode(struct super_block *sb, struct kmem_cache *cache)
{
	struct inode *object = alloc_inode_sb(sb, cache, GFP_KERNEL);

	return object;
}

__rust_helper bool rust_helper_bento_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

__rust_helper u64 rust_helper_bento_blocks(struct inode *inode)
{
	return READ_ONCE(inode->i_blocks);
}

__rust_helper const char *
rust_helper_bento_dentry_name(struct dentry *dentry, u32 *len)
{
	*len = dentry->d_name.len;
	return dentry->d_name.name;
}

__rust_helper u32 rust_helper_bento_dma_alignment(struct block_device *bdev)
{
	return bdev_dma_alignment(bdev) + 1;
}

__rust_helper struct dentry *rust_helper_bento_file_dentry(struct file *file)
{
	return file->f_path.dentry;
}

__rust_helper void rust_helper_bento_free_link(struct inode *inode)
{
	if (S_ISLNK(inode->i_mode))
		kfree(inode->i_link);
}

__rust_helper struct kmem_cache *
rust_helper_bento_inode_cache_create(unsigned int size, unsigned int align,
				     void (*ctor)(void *))
{
	return kmem_cache_create("bento_inode", size, align,
				 SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, ctor);
}

__rust_helper bool rust_helper_bento_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

__rust_helper bool rust_helper_bento_is_dirsync(struct inode *inode)
{
	return IS_DIRSYNC(inode);
}

__rust_helper u32
rust_helper_bento_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

__rust_helper u32 rust_helper_bento_nlink(struct inode *inode)
{
	return READ_ONCE(inode->i_nlink);
}

__rust_helper u64 rust_helper_bento_sb_blocks(struct super_block *sb)
{
	return sb_bdev_nr_blocks(sb);
}

__rust_helper void
rust_helper_bento_set_file_ops(struct inode *inode,
			       const struct file_operations *fop)
{
	inode->i_fop = fop;
}

__rust_helper void rust_helper_bento_set_read_only(struct super_block *sb)
{
	/* As ext4 did: what is being written sees the aborted journal. */
	sb->s_flags |= SB_RDONLY;
}

__rust_helper bool
rust_helper_dir_emit(struct dir_context *ctx, const char *name, int namelen,
		     u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, namelen, ino, type);
}

__rust_helper bool
rust_helper_dir_emit_dots(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

__rust_helper bool rust_helper_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}

__rust_helper int rust_helper_finish_open_simple(struct file *file, int error)
{
	return finish_open_simple(file, error);
}

__rust_helper void rust_helper_get_bh(struct buffer_head *bh)
{
	get_bh(bh);
}

__rust_helper gid_t rust_helper_i_gid_read(const struct inode *inode)
{
	return i_gid_read(inode);
}

__rust_helper void rust_helper_i_gid_write(struct inode *inode, gid_t gid)
{
	i_gid_write(inode, gid);
}

__rust_helper loff_t rust_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

__rust_helper void rust_helper_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

__rust_helper uid_t rust_helper_i_uid_read(const struct inode *inode)
{
	return i_uid_read(inode);
}

__rust_helper void rust_helper_i_uid_write(struct inode *inode, uid_t uid)
{
	i_uid_write(inode, uid);
}

__rust_helper struct timespec64
rust_helper_inode_get_atime(const struct inode *inode)
{
	return inode_get_atime(inode);
}

__rust_helper struct timespec64
rust_helper_inode_get_ctime(const struct inode *inode)
{
	return inode_get_ctime(inode);
}

__rust_helper struct timespec64
rust_helper_inode_get_mtime(const struct inode *inode)
{
	return inode_get_mtime(inode);
}

__rust_helper void rust_helper_inode_inc_iversion(struct inode *inode)
{
	inode_inc_iversion(inode);
}

__rust_helper u64 rust_helper_inode_peek_iversion_raw(const struct inode *inode)
{
	return inode_peek_iversion_raw(inode);
}

__rust_helper struct timespec64
rust_helper_inode_set_atime_to_ts(struct inode *inode, struct timespec64 ts)
{
	return inode_set_atime_to_ts(inode, ts);
}

__rust_helper void
rust_helper_inode_set_cached_link(struct inode *inode, char *link, int linklen)
{
	inode_set_cached_link(inode, link, linklen);
}

__rust_helper void
rust_helper_inode_set_iversion_queried(struct inode *inode, u64 val)
{
	inode_set_iversion_queried(inode, val);
}

__rust_helper struct timespec64
rust_helper_inode_set_mtime_to_ts(struct inode *inode, struct timespec64 ts)
{
	return inode_set_mtime_to_ts(inode, ts);
}

__rust_helper void rust_helper_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

__rust_helper unsigned int rust_helper_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

__rust_helper dev_t rust_helper_new_decode_dev(u32 dev)
{
	return new_decode_dev(dev);
}

__rust_helper u32 rust_helper_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}

__rust_helper bool rust_helper_percpu_ref_is_dying(struct percpu_ref *ref)
{
	return percpu_ref_is_dying(ref);
}

__rust_helper void rust_helper_percpu_ref_put(struct percpu_ref *ref)
{
	percpu_ref_put(ref);
}

__rust_helper bool rust_helper_percpu_ref_tryget_live(struct percpu_ref *ref)
{
	return percpu_ref_tryget_live(ref);
}

__rust_helper void rust_helper_sb_end_intwrite(struct super_block *sb)
{
	sb_end_intwrite(sb);
}

__rust_helper void rust_helper_sb_start_intwrite(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

__rust_helper void
rust_helper_super_set_uuid(struct super_block *sb, const u8 *uuid,
			   unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}
