// SPDX-License-Identifier: GPL-2.0

//! tinyfs: a whole file system, as small as can be, to learn Bento from.
//!
//! `Documentation/filesystems/bento-tutorial.rst` walks through it.
//!
//! # The volume
//!
//! Blocks of 4096 bytes, in this order; numbers are little-endian:
//!
//! - the [`SuperBlock`];
//! - the bitmap: a bit is set while its block of the volume is in use;
//! - the inodes, a block each: a [`Record`], then [`MAX`] pointers to the file's blocks. A pointer
//!   is a block's number or 0; [`UNWRITTEN`] in it marks a block that reads as zeroes. An inode is
//!   free while its mode is 0;
//! - the journal (jbd2's);
//! - the blocks of files. A directory's hold [`SLOTS`] slots each: a [`Slot`], then a name. A
//!   symbolic link's holds the target.
//!
//! # Locks
//!
//! An inode's guard covers its pointers, those of a directory and its slots are covered by the
//! core's hold on it. Then comes `next`, which covers the bitmap and whether an inode is free.
//!
//! # Left out
//!
//! Checksums; counts on disk: a mount reads the bitmap and the inodes; large files and directories;
//! a search for names that is not linear; keeping together on the volume what belongs together.

#![forbid(unsafe_code)]

mod blocks;
pub mod layout;
mod names;

use blocks::{
    one,
    pointer,
    InodeWrite, //
};
use kernel::{
    bento::{
        sync::Mutex,
        *, //
    },
    prelude::*, //
};
use layout::*;

/// What is cached of an inode.
#[derive(Clone, Copy)]
pub struct Node {
    parent: u32,
    orphan: bool,
}

type File<'a> = Inode<'a, Node>;

/// A mounted volume.
pub struct TinyFs {
    super_block: SuperBlock,
    /// Where to look for a free block and a free inode.
    next: Mutex<(Block, Ino)>,
}

impl FileSystem for TinyFs {
    const FORMAT: &'static str = "tinyfs";
    const VERSION: u32 = 1;

    type Node = Node;

    fn probe(vol: &Volume) -> Result<VolumeInfo> {
        let super_block = SuperBlock::read(vol)?;
        Ok(VolumeInfo {
            blocks: super_block.blocks.get().into(),
            journal: super_block.journal(),
            root: ROOT,
            max_file_size: MAX * BLOCK,
            uuid: super_block.uuid,
            ..VolumeInfo::default()
        })
    }

    fn mount(vol: &Volume, _: &Options) -> Result<Self> {
        let super_block = SuperBlock::read(vol)?;
        let next = Mutex::new((super_block.data().start, ROOT))?;
        Ok(Self { super_block, next })
    }

    fn space(&self, vol: &Volume) -> Result<Space> {
        let data = self.super_block.data();
        let (mut free_blocks, mut free_inodes) = (0, 0);
        let mut at = data.start;
        while at < data.end {
            let bitmap = vol.read(1 + at / BITS)?;
            let (from, end) = (
                (at % BITS) as usize,
                BITS.min(data.end - (at - at % BITS)) as usize,
            );
            let first = bitmap.next_zero_bit(0, from, end);
            let stop = bitmap.next_set_bit(0, first, end);
            free_blocks += (stop - first) as u64;
            at += (stop - from) as u64;
        }
        let total_inodes = self.super_block.inodes.get().into();
        for ino in 1..=total_inodes {
            let record: Record = self.inode(vol, ino)?.load(0)?;
            free_inodes += u64::from(record.attributes.mode() == 0);
        }
        Ok(Space {
            total_blocks: data.end - data.start,
            free_blocks,
            total_inodes,
            free_inodes,
        })
    }

    fn credits(&self) -> Credits {
        // A rename takes most: five inodes, two slots, a bit. Metadata is freed one by one.
        Credits {
            free_revokes: 1,
            ..Credits::uniform(8)
        }
    }

    fn read_inode(&self, vol: &Volume, ino: Ino) -> Result<(Attributes, Node)> {
        let record: Record = self.inode(vol, ino)?.load(0)?;
        let attributes = Attributes::from(&record.attributes);
        let node = Node {
            parent: record.parent.get(),
            orphan: record.orphan.get() != 0,
        };
        match attributes.mode {
            0 => Err(ESTALE),
            _ if attributes.size > MAX * BLOCK || attributes.nlink == 0 && !node.orphan => {
                Err(vol.corrupt(format_args!("inode {ino} makes no sense")))
            }
            _ => Ok((attributes, node)),
        }
    }

    fn read_link(&self, vol: &Volume, inode: File<'_>, target: &mut [u8]) -> Result<usize> {
        let len = inode.size() as usize;
        let target = target.get_mut(..len).ok_or(ENAMETOOLONG)?;
        self.content(vol, inode, 0)?.read(0, target)?;
        match target.contains(&0) {
            true => Err(vol.corrupt(format_args!("inode {}: NUL in a target", inode.ino()))),
            false => Ok(len),
        }
    }

    fn lookup(&self, vol: &Volume, dir: File<'_>, name: Name<'_>) -> Result<Option<Ino>> {
        let found = self.find(vol, dir, Some(name))?;
        Ok(found.map(|(_, _, slot)| slot.ino.get().into()))
    }

    fn read_dir(
        &self,
        vol: &Volume,
        dir: File<'_>,
        position: u64,
        sink: &mut DirSink<'_>,
    ) -> Result {
        self.slot(vol, dir, position, |block, at, slot, number| {
            let mut name = [0; NAME_MAX];
            let name = name.get_mut(..slot.len.into()).ok_or(EUCLEAN)?;
            block.read(at + NAME, name)?;
            match (Name::new(name), Kind::from_dtype(slot.kind), slot.ino.get()) {
                (_, _, 0) => Ok(false),
                (Ok(_), Some(kind), ino) => Ok(!sink.emit(name, ino.into(), kind, number + 1)),
                _ => Err(vol.corrupt(format_args!("directory {}: slot {number}", dir.ino()))),
            }
        })?;
        Ok(())
    }

    fn parent(&self, _: &Volume, dir: File<'_>) -> Result<Ino> {
        Ok(dir.read().parent.into())
    }

    fn alloc_inode(&self, vol: &Volume, claims: &Claims<'_>, _: File<'_>, _: Kind) -> Result<Ino> {
        let mut next = self.next.lock();
        for ino in Iterator::chain(next.1..=self.super_block.inodes.get().into(), 1..next.1) {
            let record: Record = self.inode(vol, ino)?.load(0)?;
            if record.attributes.mode() == 0 && claims.claim_ino(ino)? {
                next.1 = ino + 1;
                return Ok(ino);
            }
        }
        Err(ENOSPC)
    }

    fn create(
        &self,
        tx: &Handle<'_>,
        dir: File<'_>,
        inode: File<'_>,
        new: &NewInode<'_>,
    ) -> Result<Node> {
        let slot = match new.name {
            Some(_) => Some(self.slot_write(tx, dir, None)?),
            None => None,
        };
        let mut parent = self.inode_write(tx, dir)?;
        // All its pointers are 0.
        let mut write = InodeWrite(tx.create(self.super_block.inode(inode.ino()))?);
        // A directory has room for names from the first, a symbolic link for its target.
        let first = match inode.kind() {
            Kind::Directory | Kind::Symlink => Some(self.append(tx, 0)?),
            _ => None,
        };
        let node = Node {
            parent: dir.ino() as u32,
            orphan: new.name.is_none(),
        };

        if let Some((mut block, mut bitmap)) = first {
            block.zero(0, BLOCK as usize)?;
            block.write(0, new.target)?;
            self.set_blocks(&mut bitmap, &mut write, inode, one(0, &block), true)?;
            inode.set_size(match inode.kind() {
                Kind::Directory => BLOCK,
                _ => new.target.len() as u64,
            });
        }
        let next = self.next.lock();
        write.store(inode, &node)?;
        drop(next);
        if let Some(slot) = slot {
            self.set_slot(slot, dir, Some(inode), new.name)?;
        }
        parent.store(dir, &dir.read())?;
        Ok(node)
    }

    fn link(&self, tx: &Handle<'_>, dir: File<'_>, inode: File<'_>, name: Name<'_>) -> Result {
        self.change_name(tx, dir, inode, (None, Some(name)))
    }

    fn unlink(&self, tx: &Handle<'_>, dir: File<'_>, inode: File<'_>, name: Name<'_>) -> Result {
        self.change_name(tx, dir, inode, (Some(name), None))
    }

    fn rename(&self, tx: &Handle<'_>, rename: &Rename<'_, Node>) -> Result {
        let (old_dir, new_dir) = (rename.old_dir, rename.new_dir);
        let old = self.slot_write(tx, old_dir, Some(rename.old_name))?;
        let new = self.slot_write(tx, new_dir, rename.target.map(|_| rename.new_name))?;
        let back = rename.successor();
        let mut writes = KVec::with_capacity(5, GFP_KERNEL)?;
        for (inode, parent) in [
            (Some(old_dir), None),
            (Some(new_dir), None),
            (Some(rename.inode), Some(new_dir)),
            (rename.target, Some(old_dir).filter(|_| rename.exchange)),
            (rename.whiteout, None),
        ] {
            if let Some(inode) = inode {
                writes.push((self.inode_write(tx, inode)?, inode, parent), GFP_KERNEL)?;
            }
        }

        self.set_slot(old, old_dir, back, None)?;
        self.set_slot(new, new_dir, Some(rename.inode), Some(rename.new_name))?;
        for (mut write, inode, parent) in writes {
            write.store_names(inode, parent)?;
        }
        Ok(())
    }

    fn write_inode(&self, tx: &Handle<'_>, inode: File<'_>) -> Result {
        self.inode_write(tx, inode)?.store(inode, &inode.read())
    }

    fn set_orphan(&self, tx: &Handle<'_>, inode: File<'_>, orphan: bool) -> Result {
        let mut write = self.inode_write(tx, inode)?;
        let mut node = inode.write();
        node.orphan = orphan;
        write.store(inode, &node)
    }

    fn next_orphan(&self, vol: &Volume, cursor: Ino) -> Result<Option<Ino>> {
        for ino in cursor + 1..=self.super_block.inodes.get().into() {
            let record: Record = self.inode(vol, ino)?.load(0)?;
            if record.attributes.mode() != 0 && record.orphan.get() != 0 {
                return Ok(Some(ino));
            }
        }
        Ok(None)
    }

    fn map(
        &self,
        vol: &Volume,
        claims: &Claims<'_>,
        inode: File<'_>,
        range: FileRange,
        intent: Intent,
    ) -> Result<Mapping> {
        let _guard = inode.read();
        let (mapped, mut extent) = self.look(vol, inode, range)?;
        if mapped {
            return Ok(Mapping::Mapped(extent));
        }
        if intent == Intent::Look {
            let len = match extent.len {
                // Behind the last pointer.
                0 => range.end - range.start,
                len => len,
            };
            return Ok(Mapping::Hole { len });
        }
        if extent.len == 0 {
            return Err(EFBIG);
        }
        (extent.block, extent.len) = self.claim(vol, claims, extent.len)?;
        Ok(Mapping::Claimed(extent))
    }

    fn publish(&self, tx: &Handle<'_>, inode: File<'_>, extent: Extent) -> Result {
        let (start, end) = (extent.file_block, extent.file_end());
        let node = inode.write();
        let (mapped, old) = self.look(tx.volume(), inode, FileRange { start, end })?;
        if old.len < extent.len || mapped && old.block != extent.block {
            return Err(EUCLEAN);
        }
        let mut write = self.inode_write(tx, inode)?;
        match mapped {
            false => {
                let mut bitmap = self.bit(tx, extent.block)?;
                self.set_blocks(&mut bitmap, &mut write, inode, extent, true)?;
            }
            true if old.unwritten => write.point(extent, true)?,
            true => {}
        }
        write.store(inode, &node)
    }

    fn free_blocks(&self, tx: &Handle<'_>, inode: File<'_>, range: FileRange) -> Result<Step> {
        let is_file = inode.kind() == Kind::Regular;
        if !is_file && inode.nlink() != 0 {
            return Ok(Step::Done);
        }
        let node = inode.write();
        let mut write = self.inode_write(tx, inode)?;
        let there = |at: &u64| pointer(&write.0, *at) != 0;
        let Some(last) = (range.start..range.end.min(MAX)).rev().find(there) else {
            write.store(inode, &node)?;
            return Ok(Step::Done);
        };
        // With those in front of it, as far as they are in front of it on the volume, and have
        // their bits in the same block.
        let block = pointer(&write.0, last);
        let most = if is_file {
            u64::from(block & !UNWRITTEN) % BITS
        } else {
            0
        };
        let first = (range.start.max(last.saturating_sub(most))..last)
            .rev()
            .take_while(|&at| pointer(&write.0, at).checked_add((last - at) as u32) == Some(block))
            .last();
        let range = FileRange {
            start: first.unwrap_or(last),
            end: last + 1,
        };
        let (_, extent) = self.look(tx.volume(), inode, range)?;
        let mut bitmap = self.bit(tx, extent.block)?;
        let was = if is_file {
            BlockUse::Data
        } else {
            BlockUse::Metadata
        };
        tx.free(extent.block, extent.len, was)?;

        self.set_blocks(&mut bitmap, &mut write, inode, extent, false)?;
        write.store(inode, &node)?;
        Ok(Step::More)
    }

    fn free_inode(&self, tx: &Handle<'_>, inode: File<'_>) -> Result {
        let mut write = self.inode_write(tx, inode)?;
        let _next = self.next.lock();
        write.0.zero(0, size_of::<Record>())
    }
}
