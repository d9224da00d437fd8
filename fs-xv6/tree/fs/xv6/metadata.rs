// SPDX-License-Identifier: GPL-2.0

//! Metadata blocks that carry a [`BlockHeader`]: read and checked, sealed after a change.

use super::{
    layout::{
        BlockHeader,
        BLOCK_SIZE, //
    },
    Xv6, //
};
use kernel::{
    bento::{
        crc32c,
        Block,
        Buffer,
        Volume,
        Writable, //
    },
    prelude::*, //
};
use zerocopy::IntoBytes;

/// What a block has to say of itself, beside its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// `MAGIC_*`.
    pub(super) magic: u32,
    /// The inode that it belongs to, or the group.
    pub(super) owner: u64,
    /// The inode's generation, or zero.
    pub(super) generation: u32,
}

impl Xv6 {
    /// Whether a run of blocks may belong to an inode: it lies in the data area of one group, and
    /// not in the journal.
    pub(super) fn is_data(&self, start: Block, len: u64) -> bool {
        let journal_end = self.journal.start.saturating_add(self.journal.len);
        self.geometry.is_data(start, len)
            && (start >= journal_end || start.saturating_add(len) <= self.journal.start)
    }

    /// Reads a block and checks that it is what `identity` says; the checksum once while it is
    /// cached.
    ///
    /// The caller holds a lock that keeps writers of the block away.
    ///
    /// # Errors
    ///
    /// `EIO`; `EUCLEAN` if it is not that block.
    pub(super) fn read_block(
        &self,
        volume: &Volume,
        block: Block,
        identity: Identity,
    ) -> Result<(Buffer, BlockHeader)> {
        let buffer = volume.read(block)?;
        let header: BlockHeader = buffer.load(0)?;
        if header.magic.get() != identity.magic
            || header.block.get() != block
            || header.owner.get() != identity.owner
            || header.generation.get() != identity.generation
        {
            return Err(volume.corrupt(format_args!(
                "block {block}: not the one of {identity:?}: {header:?}"
            )));
        }
        if !buffer.is_checked() {
            if self.checksum(&buffer, header) != header.checksum.get() {
                return Err(volume.corrupt(format_args!("block {block}: checksum")));
            }
            buffer.set_checked();
        }
        Ok((buffer, header))
    }

    /// Stores the header of a block, with the checksum of what the block holds now: the last store
    /// of each change.
    pub(super) fn seal(
        &self,
        block: &mut Writable<'_>,
        identity: Identity,
        level: u16,
        count: u16,
    ) -> Result {
        let mut header = BlockHeader {
            magic: identity.magic.into(),
            checksum: 0.into(),
            block: block.block().into(),
            owner: identity.owner.into(),
            generation: identity.generation.into(),
            level: level.into(),
            count: count.into(),
        };
        header.checksum = self.checksum(block, header).into();
        block.store(0, &header)
    }

    /// The checksum of a block with this header.
    fn checksum(&self, buffer: &Buffer, mut header: BlockHeader) -> u32 {
        header.checksum = 0.into();
        let size = size_of::<BlockHeader>();
        let seed = crc32c(self.seed, header.as_bytes());
        buffer.crc32c(seed, size, BLOCK_SIZE.saturating_sub(size))
    }
}
