// SPDX-License-Identifier: GPL-2.0

/*
 * What rust/kernel/bento needs of C beyond declared functions: inline functions,
 * macros, and members that sit in unions or depend on the configuration. Those
 * without a C function of their name start with bento_. Metadata blocks and their
 * journal are in bento_block.c.
 */

#include <linux/blkdev.h>
#include <linux/capability.h>
#include <linux/exportfs.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/iomap.h>
#include <linux/iversion.h>
#include <linux/kdev_t.h>
#include <linux/kmod.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/percpu-refcount.h>
#include <linux/posix_acl.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

__rust_helper void rust_helper_bento_add_blocks(struct inode *inode, s64 blocks)
{
	s64 sectors = blocks << (inode->i_blkbits - SECTOR_SHIFT);

	spin_lock(&inode->i_lock);
	/* A damaged record may have counted fewer than are freed. */
	inode->i_blocks = max_t(s64, inode->i_blocks + sectors, 0);
	spin_unlock(&inode->i_lock);
}

__rust_helper struct inode *
rust_helper_bento_alloc_inode(struct super_block *sb, struct kmem_cache *cache)
{
	struct inode *object = alloc_inode_sb(sb, cache, GFP_KERNEL);

	return object;
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

__rust_helper bool rust_helper_bento_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

__rust_helper struct dentry *rust_helper_bento_file_dentry(struct file *file)
{
	return file->f_path.dentry;
}

__rust_helper bool rust_helper_bento_file_is_sync(struct file *file)
{
	return (file->f_flags & O_DSYNC) || IS_SYNC(file_inode(file));
}

__rust_helper void rust_helper_bento_file_set_modes(struct file *file)
{
	file->f_mode |= FMODE_NOWAIT | FMODE_CAN_ODIRECT;
}

__rust_helper bool rust_helper_bento_file_writable(struct file *file)
{
	return file->f_mode & FMODE_WRITE;
}

__rust_helper u32 rust_helper_bento_fileattr_flags(const struct file_kattr *fa)
{
	return fa->flags;
}

__rust_helper void rust_helper_bento_free_link(struct inode *inode)
{
	/* make_bad_inode() turns one that could not be made into a regular file. */
	if (S_ISLNK(inode->i_mode) || S_ISREG(inode->i_mode))
		kfree(inode->i_link);
}

__rust_helper bool rust_helper_bento_in_task(void)
{
	return in_task() && !irqs_disabled();
}

#ifdef CONFIG_BENTO_DEBUG
__rust_helper void rust_helper_bento_gate_assert_left(struct lockdep_map *map)
{
	WARN_ONCE(debug_locks && lock_is_held(map),
		  "bento: a wait inside the gate for what lies outside of it");
}

__rust_helper void rust_helper_bento_assert_no_handle(void)
{
	WARN_ONCE(current->journal_info,
		  "bento: the holder of a handle waits for what comes before it");
}

#endif

__rust_helper void rust_helper_bento_gate_closed(struct lockdep_map *map)
{
	rwsem_acquire(map, 0, 0, _RET_IP_);
}

__rust_helper bool rust_helper_bento_gate_drain(struct percpu_ref *inside,
						struct wait_queue_head *queue,
						u64 limit_ns)
{
	bool drained = !wait_event_hrtimeout(*queue, percpu_ref_is_zero(inside),
					     ns_to_ktime(limit_ns));

	/* What those who have left did comes before what follows. */
	smp_mb();
	return drained;
}

__rust_helper void rust_helper_bento_gate_entered(struct lockdep_map *map)
{
	/*
	 * Pairs with the barrier before percpu_ref_resurrect(): who finds the
	 * gate open sees the version that it was opened for.
	 */
	smp_rmb();
	rwsem_acquire_read(map, 0, 0, _RET_IP_);
}

__rust_helper void rust_helper_bento_gate_left(struct lockdep_map *map)
{
	rwsem_release(map, _RET_IP_);
}

__rust_helper void rust_helper_bento_gate_wait(struct percpu_ref *inside,
					       struct wait_queue_head *queue)
{
	wait_event(*queue, !percpu_ref_is_dying(inside));
}

__rust_helper bool rust_helper_bento_get_active(struct super_block *sb)
{
	return atomic_inc_not_zero(&sb->s_active);
}

__rust_helper struct kmem_cache *
rust_helper_bento_inode_cache_create(unsigned int size, unsigned int align,
				     void (*ctor)(void *))
{
	return kmem_cache_create("bento_inode", size, align,
				 SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, ctor);
}

__rust_helper bool rust_helper_bento_inode_is_dirty(struct inode *inode, bool datasync)
{
	return inode_state_read_once(inode) &
		(datasync ? I_DIRTY_DATASYNC : I_DIRTY_ALL & ~I_DIRTY_PAGES);
}

__rust_helper bool rust_helper_bento_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

__rust_helper void rust_helper_bento_ioend_defer(struct iomap_ioend *ioend,
						 bio_end_io_t end_io)
{
	ioend->io_bio.bi_end_io = end_io;
	bio_clear_flag(&ioend->io_bio, BIO_COMPLETE_IN_TASK);
}

__rust_helper bool rust_helper_bento_is_dirsync(struct inode *inode)
{
	return IS_DIRSYNC(inode);
}

__rust_helper bool rust_helper_bento_is_nosec(struct inode *inode)
{
	return IS_NOSEC(inode);
}

__rust_helper void rust_helper_bento_list_add(spinlock_t *lock, struct list_head *entry,
					      struct list_head *list,
					      struct workqueue_struct *queue,
					      struct work_struct *work)
{
	unsigned long flags;

	/* Queued under the lock: once the entry can be taken, all of this may go away. */
	spin_lock_irqsave(lock, flags);
	list_add_tail(entry, list);
	queue_work(queue, work);
	spin_unlock_irqrestore(lock, flags);
}

__rust_helper struct list_head *rust_helper_bento_list_pop(struct list_head *list)
{
	struct list_head *first = list->next;

	if (first == list)
		return NULL;
	list_del_init(first);
	return first;
}

__rust_helper void rust_helper_bento_list_take(spinlock_t *lock, struct list_head *list,
					       struct list_head *to)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	list_splice_tail_init(list, to);
	spin_unlock_irqrestore(lock, flags);
}

__rust_helper void rust_helper_bento_load_module(const char *prefix, const char *name)
{
	request_module("%s%s", prefix, name);
}

__rust_helper u32 rust_helper_bento_nlink(struct inode *inode)
{
	return READ_ONCE(inode->i_nlink);
}

__rust_helper void rust_helper_bento_non_block_end(void)
{
	non_block_end();
}

__rust_helper void rust_helper_bento_non_block_start(void)
{
	non_block_start();
}

__rust_helper bool rust_helper_bento_sb_is_dying(struct super_block *sb)
{
	return !(READ_ONCE(sb->s_flags) & SB_ACTIVE) || !sb->s_root;
}

__rust_helper bool rust_helper_bento_sb_is_frozen(struct super_block *sb)
{
	return READ_ONCE(sb->s_writers.frozen) != SB_UNFROZEN;
}

__rust_helper void
rust_helper_bento_set_file_ops(struct inode *inode,
			       const struct file_operations *fop)
{
	inode->i_fop = fop;
}

__rust_helper void rust_helper_cache_no_acl(struct inode *inode)
{
	cache_no_acl(inode);
}

/* Inline without CONFIG_MULTIUSER. */
__rust_helper bool rust_helper_capable(int cap)
{
	return capable(cap);
}

__rust_helper int rust_helper_copy_struct_from_user(void *dst, size_t ksize,
						    const void __user *src, size_t usize)
{
	return copy_struct_from_user(dst, ksize, src, usize);
}

__rust_helper int rust_helper_copy_struct_to_user(void __user *dst, size_t usize,
						  const void *src, size_t ksize)
{
	return copy_struct_to_user(dst, usize, src, ksize, NULL);
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

__rust_helper void rust_helper_file_accessed(struct file *file)
{
	file_accessed(file);
}

__rust_helper struct inode *rust_helper_file_inode(const struct file *file)
{
	return file_inode(file);
}

__rust_helper bool rust_helper_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}

__rust_helper void rust_helper_filemap_invalidate_lock(struct address_space *mapping)
{
	filemap_invalidate_lock(mapping);
}

__rust_helper void rust_helper_filemap_invalidate_lock_shared(struct address_space *mapping)
{
	filemap_invalidate_lock_shared(mapping);
}

__rust_helper void rust_helper_filemap_invalidate_unlock(struct address_space *mapping)
{
	filemap_invalidate_unlock(mapping);
}

__rust_helper void rust_helper_filemap_invalidate_unlock_shared(struct address_space *mapping)
{
	filemap_invalidate_unlock_shared(mapping);
}

__rust_helper int rust_helper_finish_open_simple(struct file *file, int error)
{
	return finish_open_simple(file, error);
}

/* Inline without CONFIG_FILE_LOCKING. */
__rust_helper int rust_helper_generic_setlease(struct file *filp, int arg,
					       struct file_lease **flp,
					       void **priv)
{
	return generic_setlease(filp, arg, flp, priv);
}

__rust_helper ssize_t rust_helper_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
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

__rust_helper void rust_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

__rust_helper void rust_helper_inode_lock_shared(struct inode *inode)
{
	inode_lock_shared(inode);
}

__rust_helper u64 rust_helper_inode_peek_iversion(const struct inode *inode)
{
	return inode_peek_iversion(inode);
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

__rust_helper int rust_helper_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

__rust_helper int rust_helper_inode_trylock_shared(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

__rust_helper void rust_helper_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

__rust_helper void rust_helper_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

__rust_helper void rust_helper_iomap_bio_read_folio(struct folio *folio,
						    const struct iomap_ops *ops)
{
	iomap_bio_read_folio(folio, ops);
}

__rust_helper void rust_helper_iomap_bio_readahead(struct readahead_control *rac,
						   const struct iomap_ops *ops)
{
	iomap_bio_readahead(rac, ops);
}

__rust_helper size_t rust_helper_iov_iter_count(const struct iov_iter *iter)
{
	return iov_iter_count(iter);
}

__rust_helper void rust_helper_mapping_set_large_folios(struct address_space *mapping)
{
	mapping_set_large_folios(mapping);
}

__rust_helper void
rust_helper_lockdep_init_map(struct lockdep_map *map, const char *name,
			     struct lock_class_key *key, int subclass)
{
	lockdep_init_map(map, name, key, subclass);
}

__rust_helper void rust_helper_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

__rust_helper unsigned int rust_helper_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

/* Inline without CONFIG_MODULE_UNLOAD, as is try_module_get(). */
__rust_helper void rust_helper_module_put(struct module *module)
{
	module_put(module);
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

__rust_helper void rust_helper_percpu_ref_kill(struct percpu_ref *ref)
{
	percpu_ref_kill(ref);
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

__rust_helper void rust_helper_sb_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

__rust_helper void rust_helper_sb_start_intwrite(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

__rust_helper bool rust_helper_sb_start_intwrite_trylock(struct super_block *sb)
{
	return sb_start_intwrite_trylock(sb);
}

__rust_helper void rust_helper_sb_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

__rust_helper void
rust_helper_super_set_uuid(struct super_block *sb, const u8 *uuid,
			   unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}

__rust_helper bool rust_helper_try_module_get(struct module *module)
{
	return try_module_get(module);
}
