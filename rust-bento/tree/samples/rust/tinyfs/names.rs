// SPDX-License-Identifier: GPL-2.0

//! Directories: the slots of their blocks.

use super::{
    blocks::{
        one,
        InodeWrite, //
    },
    layout::*,
    File,
    TinyFs, //
};
use kernel::{
    bento::{
        Buffer,
        Handle,
        Name,
        Volume,
        Writable, //
    },
    prelude::*, //
};

/// Write access to a slot; if its block is new, to the block's bit and to the directory.
pub(super) struct SlotWrite<'h> {
    block: Writable<'h>,
    at: usize,
    new: Option<(Writable<'h>, InodeWrite<'h>)>,
}

impl TinyFs {
    /// The first slot from `from` on that `wanted` says yes to. It is given the block, the place
    /// there, the slot and its number.
    pub(super) fn slot(
        &self,
        vol: &Volume,
        dir: File<'_>,
        from: u64,
        mut wanted: impl FnMut(&Buffer, usize, Slot, u64) -> Result<bool>,
    ) -> Result<Option<(Buffer, usize, Slot)>> {
        for start in from / SLOTS..dir.size() / BLOCK {
            let block = self.content(vol, dir, start)?;
            for number in from.max(start * SLOTS)..(start + 1) * SLOTS {
                let at = (number % SLOTS) as usize * SLOT;
                let slot: Slot = block.load(at)?;
                if wanted(&block, at, slot, number)? {
                    return Ok(Some((block, at, slot)));
                }
            }
        }
        Ok(None)
    }

    /// The slot of a name, or a free one.
    pub(super) fn find(
        &self,
        vol: &Volume,
        dir: File<'_>,
        name: Option<Name<'_>>,
    ) -> Result<Option<(Buffer, usize, Slot)>> {
        self.slot(vol, dir, 0, |block, at, slot, _| {
            Ok(match name.map(|name| name.as_bytes()) {
                None => slot.ino.get() == 0,
                Some(name) => {
                    slot.ino.get() != 0
                        && usize::from(slot.len) == name.len()
                        && block.equals(at + NAME, name)
                }
            })
        })
    }

    /// Takes write access to the slot of a name, or to a free one.
    pub(super) fn slot_write<'h>(
        &self,
        tx: &'h Handle<'_>,
        dir: File<'_>,
        name: Option<Name<'_>>,
    ) -> Result<SlotWrite<'h>> {
        let (block, at, new) = match self.find(tx.volume(), dir, name)? {
            Some((block, at, _)) => (tx.write(&block)?, at, None),
            None if name.is_some() => return Err(EUCLEAN),
            None => {
                let (block, bitmap) = self.append(tx, dir.size() / BLOCK)?;
                (block, 0, Some((bitmap, self.inode_write(tx, dir)?)))
            }
        };
        Ok(SlotWrite { block, at, new })
    }

    /// Stores what a slot holds: an inode or nothing, and a name unless that stays.
    pub(super) fn set_slot(
        &self,
        mut write: SlotWrite<'_>,
        dir: File<'_>,
        inode: Option<File<'_>>,
        name: Option<Name<'_>>,
    ) -> Result {
        let mut slot: Slot = write.block.load(write.at)?;
        slot.ino = inode.map_or(0, |inode| inode.ino() as u32).into();
        slot.kind = inode.map_or(0, |inode| inode.kind().dtype());
        if let Some(name) = name {
            slot.len = name.as_bytes().len() as u8;
            write.block.write(write.at + NAME, name.as_bytes())?;
        }
        write.block.store(write.at, &slot)?;
        if let Some((mut bitmap, mut inode)) = write.new {
            let at = dir.size() / BLOCK;
            self.set_blocks(&mut bitmap, &mut inode, dir, one(at, &write.block), true)?;
            dir.set_size((at + 1) * BLOCK);
        }
        Ok(())
    }

    /// Takes the old name from an inode, or gives it the new one.
    pub(super) fn change_name(
        &self,
        tx: &Handle<'_>,
        dir: File<'_>,
        inode: File<'_>,
        (old, new): (Option<Name<'_>>, Option<Name<'_>>),
    ) -> Result {
        let slot = self.slot_write(tx, dir, old)?;
        let mut parent = self.inode_write(tx, dir)?;
        let mut write = self.inode_write(tx, inode)?;

        self.set_slot(slot, dir, new.map(|_| inode), new)?;
        parent.store(dir, &dir.read())?;
        write.store_names(inode, None)
    }
}
