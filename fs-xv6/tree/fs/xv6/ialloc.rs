// SPDX-License-Identifier: GPL-2.0

//! Inode numbers: chosen and claimed, taken, given back; orphans.

use super::{
    group::{
        BitmapWrite,
        Which, //
    },
    inode::Node,
    layout::{
        FIRST_INO,
        ROOT_INO, //
    },
    Xv6, //
};
use kernel::{
    bento::{
        Claims,
        Handle,
        Ino,
        Inode,
        Kind,
        Volume, //
    },
    prelude::*, //
};

/// The bits of an inode in a transaction.
pub(super) struct InodeBits<'h> {
    bitmap: BitmapWrite<'h>,
    bit: usize,
}

impl Xv6 {
    /// Chooses and claims a number: a file's near its directory, a directory's where there is room.
    pub(super) fn claim_inode(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        dir: Inode<'_, Node>,
        kind: Kind,
    ) -> Result<Ino> {
        let groups = self.geometry.groups();
        let parent = self.geometry.group_of_ino(dir.ino());
        let first = match kind {
            Kind::Directory => self.group_for_directory(volume, dir.ino(), parent)?,
            _ => parent,
        };
        for group in Iterator::chain(first..groups, 0..first) {
            let mut cached = self.group(group)?.lock();
            if cached.map(Which::Inodes).free == Some(0) {
                continue;
            }
            let bitmap = self.bitmap(volume, group, Which::Inodes, &mut cached)?;
            let next = cached.map(Which::Inodes).next;
            for (mut bit, end) in [(next, bitmap.end), (0, next)] {
                loop {
                    bit = bitmap.next_clear(bit, end);
                    if bit >= end.min(bitmap.end) {
                        break;
                    }
                    let ino = self.geometry.ino_at(group, bit);
                    bit = bit.saturating_add(1);
                    if ino < FIRST_INO {
                        return Err(volume.corrupt(format_args!("inode {ino}: marked as free")));
                    }
                    if claims.claim_ino(ino)? {
                        cached.map(Which::Inodes).next = bit;
                        return Ok(ino);
                    }
                }
            }
        }
        Err(ENOSPC)
    }

    /// The group for a new directory. Those in the root directory are spread over the volume, those
    /// below stay with their parent while there is room for what they will hold.
    fn group_for_directory(&self, volume: &Volume, dir: Ino, parent: u64) -> Result<u64> {
        /// Groups that are looked at.
        const LOOK: usize = 16;
        let groups = self.geometry.groups();
        let first = if dir == ROOT_INO {
            let mut rotor = self.rotor.lock();
            *rotor = rotor.saturating_add(1).checked_rem(groups).unwrap_or(0);
            *rotor
        } else {
            parent
        };
        for group in Iterator::chain(first..groups, 0..first).take(LOOK) {
            if self.has_room(volume, group, Which::Inodes)?
                && self.has_room(volume, group, Which::Blocks)?
            {
                return Ok(group);
            }
        }
        Ok(first)
    }

    /// Whether a quarter of a group is free.
    fn has_room(&self, volume: &Volume, group: u64, which: Which) -> Result<bool> {
        let mut cached = self.group(group)?.lock();
        let free = match cached.map(which).free {
            Some(free) => free,
            None => {
                self.bitmap(volume, group, which, &mut cached)?;
                cached.map(which).free.unwrap_or(0)
            }
        };
        Ok(free as usize >= self.fresh_free(group, which) / 4)
    }

    /// Takes write access to the bits of an inode.
    pub(super) fn prepare_inode<'h>(
        &self,
        handle: &'h Handle<'_>,
        ino: Ino,
    ) -> Result<InodeBits<'h>> {
        if !self.is_ino(ino) {
            return Err(EUCLEAN);
        }
        let group = self.geometry.group_of_ino(ino);
        Ok(InodeBits {
            bitmap: self.prepare_bitmap(handle, group, Which::Inodes)?,
            bit: self.geometry.ino_bit(ino),
        })
    }

    /// The first orphan behind `cursor`.
    pub(super) fn find_orphan(&self, volume: &Volume, cursor: Ino) -> Result<Option<Ino>> {
        if cursor >= self.geometry.max_ino() {
            return Ok(None);
        }
        // The number behind the cursor is the bit that comes next: numbers begin at 1, bits at 0.
        let next = cursor.saturating_add(1);
        let first = self.geometry.group_of_ino(next);
        let mut bit = self.geometry.ino_bit(next);
        for group in first..self.geometry.groups() {
            let mut cached = self.group(group)?.lock();
            let bitmap = self.bitmap(volume, group, Which::Inodes, &mut cached)?;
            let found = bitmap.next_orphan(bit);
            if found < bitmap.end {
                return Ok(Some(self.geometry.ino_at(group, found)));
            }
            bit = 0;
        }
        Ok(None)
    }
}

impl InodeBits<'_> {
    /// Takes the number.
    pub(super) fn allocate(&mut self, fs: &Xv6, volume: &Volume) -> Result {
        self.bitmap.change(fs, volume, self.bit, 1, true)
    }

    /// Gives the number back, and its place among the orphans.
    pub(super) fn free(&mut self, fs: &Xv6, volume: &Volume) -> Result {
        self.set_orphan(fs, volume, false)?;
        self.bitmap.change(fs, volume, self.bit, 1, false)?;
        Ok(())
    }

    /// Makes the inode an orphan, or one no more.
    pub(super) fn set_orphan(&mut self, fs: &Xv6, volume: &Volume, orphan: bool) -> Result {
        self.bitmap.change_orphan(fs, volume, self.bit, orphan)
    }
}
