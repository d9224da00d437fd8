// SPDX-License-Identifier: GPL-2.0

/*
 * What rust/kernel/bento needs of C for block devices, metadata buffers and jbd2:
 * see bento.c.
 */

#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/jbd2.h>
#include <linux/wait.h>

/* A bit of b_state that neither the buffer cache nor jbd2 uses. */
#define BH_BentoChecked BH_JBDPrivateStart

__rust_helper bool rust_helper_bento_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

/*
 * Whether what is in memory of a block is to be used. If it could not be
 * written, it is newer than what is on the disk, which must not be read over
 * it: see ext4_buffer_uptodate().
 */
static bool bento_buffer_uptodate(struct buffer_head *bh)
{
	if (buffer_write_io_error(bh))
		set_buffer_uptodate(bh);
	return buffer_uptodate(bh);
}

__rust_helper struct buffer_head *
rust_helper_bento_bread(struct super_block *sb, sector_t block)
{
	struct buffer_head *bh = sb_getblk(sb, block);

	if (!bh || bento_buffer_uptodate(bh) || bh_read(bh, 0) >= 0)
		return bh;
	brelse(bh);
	return NULL;
}

__rust_helper void rust_helper_bento_breadahead(struct super_block *sb, sector_t block)
{
	struct buffer_head *bh;

	bh = sb_getblk_gfp(sb, block, GFP_NOWAIT | __GFP_MOVABLE);
	if (!bh)
		return;
	if (!bento_buffer_uptodate(bh))
		bh_readahead(bh, REQ_RAHEAD);
	brelse(bh);
}

__rust_helper bool rust_helper_bento_buffer_checked(struct buffer_head *bh)
{
	return test_bit(BH_BentoChecked, &bh->b_state);
}

__rust_helper bool rust_helper_bento_buffer_is_journaled(struct buffer_head *bh)
{
	return buffer_jbd(bh) && bento_buffer_uptodate(bh);
}

__rust_helper void rust_helper_bento_clear_buffer_checked(struct buffer_head *bh)
{
	clear_bit(BH_BentoChecked, &bh->b_state);
}

__rust_helper u32 rust_helper_bento_dma_alignment(struct block_device *bdev)
{
	return bdev_dma_alignment(bdev) + 1;
}

__rust_helper tid_t rust_helper_bento_journal_current_tid(journal_t *journal)
{
	tid_t tid;

	read_lock(&journal->j_state_lock);
	if (journal->j_running_transaction)
		tid = journal->j_running_transaction->t_tid;
	else if (journal->j_committing_transaction)
		tid = journal->j_committing_transaction->t_tid;
	else
		tid = journal->j_commit_sequence;
	read_unlock(&journal->j_state_lock);
	return tid;
}

__rust_helper handle_t *rust_helper_bento_journal_start(journal_t *journal, int blocks,
							int revokes)
{
	return jbd2__journal_start(journal, blocks, 0, revokes, GFP_NOFS, 0, 0);
}

__rust_helper void rust_helper_bento_journal_wait_released(journal_t *journal,
							   const tid_t *released)
{
	tid_t tid = READ_ONCE(journal->j_commit_sequence);

	/* jbd2 wakes this queue once more when a transaction's callback has returned. */
	wait_event(journal->j_wait_done_commit,
		   /* Pairs with the release in committed(): what it gave back is seen. */
		   tid_geq(smp_load_acquire(released), tid));
}

__rust_helper u32
rust_helper_bento_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

__rust_helper u64 rust_helper_bento_sb_blocks(struct super_block *sb)
{
	return sb_bdev_nr_blocks(sb);
}

__rust_helper void rust_helper_bento_set_buffer_checked(struct buffer_head *bh)
{
	set_bit(BH_BentoChecked, &bh->b_state);
}

__rust_helper void rust_helper_get_bh(struct buffer_head *bh)
{
	get_bh(bh);
}

__rust_helper int rust_helper_is_journal_aborted(journal_t *journal)
{
	return is_journal_aborted(journal);
}

__rust_helper void rust_helper_lock_buffer(struct buffer_head *bh)
{
	lock_buffer(bh);
}

__rust_helper struct buffer_head *
rust_helper_sb_find_get_block_nonatomic(struct super_block *sb, sector_t block)
{
	return sb_find_get_block_nonatomic(sb, block);
}

__rust_helper struct buffer_head *rust_helper_sb_getblk(struct super_block *sb, sector_t block)
{
	return sb_getblk(sb, block);
}

__rust_helper void rust_helper_set_buffer_uptodate(struct buffer_head *bh)
{
	set_buffer_uptodate(bh);
}
