// SPDX-License-Identifier: GPL-2.0

//! Descriptors and bitmaps, read.

use super::{
    check::Check,
    volume::{
        Identity,
        Volume, //
    }, //
};
use crate::{
    failure::Result,
    groups::bit,
    image, //
};
use kernel::user::device::BlockData;
use xv6::layout::{
    GroupDescriptor,
    BITMAP_HEADER,
    GROUPS_PER_BLOCK,
    GROUP_BLOCKS_UNINIT,
    GROUP_INODES_UNINIT,
    MAGIC_BLOCK_BITMAP,
    MAGIC_GROUPS,
    MAGIC_INODE_BITMAP,
    ORPHAN_BITS, //
};

/// Which of a group's bitmaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// That of its blocks.
    Blocks,
    /// That of its inodes.
    Inodes,
}

impl Which {
    /// The flag that says that it was never written.
    pub fn fresh_flag(self) -> u32 {
        match self {
            Self::Blocks => GROUP_BLOCKS_UNINIT,
            Self::Inodes => GROUP_INODES_UNINIT,
        }
    }

    /// Where it is.
    pub fn place(self, volume: &Volume<'_>, group: u64) -> u64 {
        match self {
            Self::Blocks => volume.geometry.block_bitmap(group),
            Self::Inodes => volume.geometry.inode_bitmap(group),
        }
    }

    /// How it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks => "block bitmap",
            Self::Inodes => "inode bitmap",
        }
    }
}

/// Reads a bitmap, and says what is wrong with its header.
pub fn read_bitmap(
    volume: &Volume<'_>,
    group: u64,
    which: Which,
) -> Result<(Box<BlockData>, Result<(), &'static str>)> {
    let place = which.place(volume, group);
    let data = volume.read(place)?;
    let identity = Identity {
        magic: match which {
            Which::Blocks => MAGIC_BLOCK_BITMAP,
            Which::Inodes => MAGIC_INODE_BITMAP,
        },
        owner: group,
        generation: 0,
    };
    let good = match volume.check_header(&data, place, identity) {
        Err(what) => Err(what),
        Ok(_) if !volume.is_sealed(&data) => Err("wrong checksum"),
        Ok(_) => Ok(()),
    };
    Ok((data, good))
}

/// Whether bit `at` of a bitmap is set.
pub fn is_used(data: &BlockData, at: usize) -> bool {
    bit(&data[..], BITMAP_HEADER, at)
}

/// Whether an inode is an orphan.
pub fn is_orphan(data: &BlockData, at: usize) -> bool {
    bit(&data[..], ORPHAN_BITS, at)
}

impl Check<'_, '_, '_> {
    /// Reads the descriptors. Copies are of no help where one is damaged, as they are old.
    ///
    /// A bitmap that is there is taken as written. Where the descriptor is lost and there is none,
    /// it may be damaged, too: inodes are looked for all the same.
    pub fn read_descriptors(&mut self) -> Result {
        let geometry = self.volume.geometry;
        for index in 0..geometry.descriptor_blocks() {
            let first = index * GROUPS_PER_BLOCK;
            let place = geometry.super_block(0) + 1 + index;
            let data = self.volume.read(place)?;
            let identity = Identity {
                magic: MAGIC_GROUPS,
                owner: first,
                generation: 0,
            };
            let wrong = match self.volume.check_header(&data, place, identity) {
                Err(what) => Some(what),
                Ok(_) if !self.volume.is_sealed(&data) => Some("wrong checksum"),
                Ok(_) => None,
            };
            if let Some(what) = wrong {
                self.log.major(format_args!(
                    "block {place} of the group descriptors has a {what}"
                ));
            }
            for group in first..(first + GROUPS_PER_BLOCK).min(geometry.groups()) {
                let (_, offset) = geometry.descriptor(group);
                let descriptor = image::load::<GroupDescriptor>(&data[..], offset);
                let known = GROUP_BLOCKS_UNINIT | GROUP_INODES_UNINIT;
                let flags = match descriptor {
                    Some(descriptor) if wrong.is_none() => {
                        let flags = descriptor.flags.get();
                        if flags & !known != 0 || descriptor.reserved.iter().any(|r| r.get() != 0) {
                            self.log.major(format_args!(
                                "group {group}: its descriptor has unknown flags"
                            ));
                        }
                        flags & known
                    }
                    _ => known,
                };
                if wrong.is_some() {
                    self.guessed.insert(group);
                }
                if let Some(place) = self.flags.get_mut(group as usize) {
                    *place = flags;
                }
                self.find_written(group, wrong.is_some())?;
            }
        }
        Ok(())
    }

    /// Looks whether a bitmap that is said to be fresh was written in truth.
    fn find_written(&mut self, group: u64, lost: bool) -> Result {
        for which in [Which::Blocks, Which::Inodes] {
            if !self.flag(group, which.fresh_flag()) {
                continue;
            }
            let (_, good) = read_bitmap(&self.volume, group, which)?;
            if good.is_ok() {
                if !lost {
                    self.log.major(format_args!(
                        "group {group}: its descriptor does not know that the {} was written",
                        which.name()
                    ));
                }
                self.clear_flag(group, which.fresh_flag());
            }
        }
        Ok(())
    }
}
