// SPDX-License-Identifier: GPL-2.0

//! Inodes, and the blocks that they point to.

use super::{
    layout::*,
    File,
    Node,
    TinyFs, //
};
use kernel::{
    bento::{
        Block,
        Buffer,
        Claims,
        Extent,
        FileRange,
        Handle,
        Ino,
        Volume,
        Writable, //
    },
    prelude::*, //
};
use zerocopy::little_endian::U32;

/// Write access to the block of an inode.
pub(super) struct InodeWrite<'h>(pub(super) Writable<'h>);

/// The pointer to block `at` of the file whose inode is in `block`.
pub(super) fn pointer(block: &Buffer, at: u64) -> u32 {
    match block.load::<U32>(POINTERS + 4 * at.min(MAX) as usize) {
        Ok(pointer) => pointer.get(),
        // Behind the last pointer.
        Err(_) => 0,
    }
}

/// One block of a directory or a symbolic link.
pub(super) fn one(file_block: u64, block: &Buffer) -> Extent {
    Extent {
        file_block,
        block: block.block(),
        len: 1,
        unwritten: false,
    }
}

impl InodeWrite<'_> {
    /// Stores the record.
    pub(super) fn store(&mut self, inode: File<'_>, node: &Node) -> Result {
        self.0
            .store_inode(0, inode, |attributes, record: &mut Record| {
                record.attributes = attributes.into();
                record.parent = node.parent.into();
                record.orphan = u32::from(node.orphan).into();
            })
    }

    /// Stores the pointers to an extent, or takes them away.
    pub(super) fn point(&mut self, extent: Extent, used: bool) -> Result {
        let flag = if extent.unwritten { UNWRITTEN } else { 0 };
        for i in 0..extent.len {
            let pointer = (extent.block + i) as u32 | flag;
            let at = POINTERS + 4 * (extent.file_block + i) as usize;
            self.0
                .store(at, &U32::new(if used { pointer } else { 0 }))?;
        }
        Ok(())
    }

    /// Stores the record of an inode whose names have changed, and perhaps its parent.
    pub(super) fn store_names(&mut self, inode: File<'_>, parent: Option<File<'_>>) -> Result {
        let mut node = inode.write();
        node.orphan = inode.nlink() == 0;
        node.parent = parent.map_or(node.parent, |parent| parent.ino() as u32);
        self.store(inode, &node)
    }
}

impl TinyFs {
    /// Reads the block of an inode.
    pub(super) fn inode(&self, vol: &Volume, ino: Ino) -> Result<Buffer> {
        match (1..=self.super_block.inodes.get().into()).contains(&ino) {
            true => vol.read(self.super_block.inode(ino)),
            false => Err(ESTALE),
        }
    }

    pub(super) fn inode_write<'h>(
        &self,
        tx: &'h Handle<'_>,
        inode: File<'_>,
    ) -> Result<InodeWrite<'h>> {
        let block = self.inode(tx.volume(), inode.ino())?;
        Ok(InodeWrite(tx.write(&block)?))
    }

    /// What the start of a range of a file is: whether there are blocks, and how far it goes on so.
    pub(super) fn look(
        &self,
        vol: &Volume,
        inode: File<'_>,
        range: FileRange,
    ) -> Result<(bool, Extent)> {
        let block = self.inode(vol, inode.ino())?;
        let first = pointer(&block, range.start);
        let step = u32::from(first != 0);
        let extent = Extent {
            file_block: range.start,
            block: (first & !UNWRITTEN).into(),
            len: (range.start..range.end.min(MAX))
                .zip(0..)
                .take_while(|&(at, i)| pointer(&block, at) == first.wrapping_add(step * i))
                .count() as u64,
            unwritten: first & UNWRITTEN != 0,
        };
        let data = self.super_block.data();
        if first != 0 && (extent.block < data.start || extent.block + extent.len > data.end) {
            let ino = inode.ino();
            return Err(vol.corrupt(format_args!("inode {ino} has {extent:?}")));
        }
        Ok((first != 0, extent))
    }

    /// Reads block `at` of a directory or a symbolic link.
    pub(super) fn content(&self, vol: &Volume, inode: File<'_>, at: u64) -> Result<Buffer> {
        let (start, end) = (at, at + 1);
        match self.look(vol, inode, FileRange { start, end })? {
            (true, extent) => vol.read(extent.block),
            (false, _) => {
                let ino = inode.ino();
                Err(vol.corrupt(format_args!("inode {ino} has no block {at}")))
            }
        }
    }

    /// Claims up to `want` free blocks in a row.
    pub(super) fn claim(
        &self,
        vol: &Volume,
        claims: &Claims<'_>,
        want: u64,
    ) -> Result<(Block, u64)> {
        let mut next = self.next.lock();
        let all = self.super_block.data();
        for (mut at, end) in [(next.0, all.end), (all.start, all.end)] {
            while at < end {
                let base = at - at % BITS;
                let last = (end - base).min(BITS) as usize;
                let bitmap = vol.read(1 + base / BITS)?;
                let first = bitmap.next_zero_bit(0, (at - base) as usize, last);
                let stop = bitmap.next_set_bit(0, first, last.min(first + want as usize));
                at = base + first as u64;
                if first < last {
                    let len = claims.claim(at, (stop - first) as u64)?;
                    if len > 0 {
                        next.0 = at + len;
                        return Ok((at, len));
                    }
                    at = claims.next_unclaimed(at, end);
                }
            }
        }
        Err(ENOSPC)
    }

    /// Takes write access to the bit of a block.
    pub(super) fn bit<'h>(&self, tx: &'h Handle<'_>, block: Block) -> Result<Writable<'h>> {
        tx.write(&tx.volume().read(1 + block / BITS)?)
    }

    /// Stores the bits of blocks and the pointers to them: of a file that gets or that loses them.
    pub(super) fn set_blocks(
        &self,
        bitmap: &mut Writable<'_>,
        write: &mut InodeWrite<'_>,
        inode: File<'_>,
        extent: Extent,
        used: bool,
    ) -> Result {
        let (first, len) = ((extent.block % BITS) as usize, extent.len as usize);
        let next = self.next.lock();
        bitmap.set_bits(0, first, len, used)?;
        drop(next);
        inode.add_blocks(if used { len as i64 } else { -(len as i64) });
        write.point(extent, used)
    }

    /// Claims and prepares block `at` of a directory or a symbolic link; gives its bit too.
    pub(super) fn append<'h>(
        &self,
        tx: &'h Handle<'_>,
        at: u64,
    ) -> Result<(Writable<'h>, Writable<'h>)> {
        if at >= MAX {
            return Err(ENOSPC);
        }
        let (block, _) = self.claim(tx.volume(), &tx.claims(), 1)?;
        Ok((tx.create(block)?, self.bit(tx, block)?))
    }
}
