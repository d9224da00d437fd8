// SPDX-License-Identifier: GPL-2.0

//! Pass 5: bitmaps, descriptors, copies and totals against what was found.

use super::{
    check::Check,
    groups::{
        read_bitmap,
        Which, //
    },
    volume::Identity,
};
use crate::{
    failure::Result,
    groups,
    image, //
};
use kernel::user::device::{
    BlockData,
    Device, //
};
use xv6::layout::{
    BitmapHeader,
    GroupDescriptor,
    SuperBlock,
    BITMAP_HEADER,
    GROUPS_PER_BLOCK,
    GROUP_BLOCKS,
    MAGIC_GROUPS,
    MAX_GROUP_INODES,
    ORPHAN_BITS, //
};
use zerocopy::IntoBytes;

/// What is free, as counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// Blocks.
    pub blocks: u64,
    /// Inodes.
    pub inodes: u64,
}

/// How many bits are set in one bitmap and clear in another, and the first of them.
fn difference(has: &BlockData, lacks: &BlockData, bits: usize) -> Option<(usize, usize)> {
    let mut different = (0..bits).filter(|&bit| {
        groups::bit(&has[..], BITMAP_HEADER, bit) && !groups::bit(&lacks[..], BITMAP_HEADER, bit)
    });
    let first = different.next()?;
    Some((different.count() + 1, first))
}

impl Check<'_, '_, '_> {
    /// Checks and repairs what says what is in use. Gives what is free.
    pub fn check_bitmaps(&mut self) -> Result<Free> {
        let geometry = self.volume.geometry;
        let mut free = Free::default();
        for group in 0..geometry.groups() {
            self.log.progress(5, group, geometry.groups())?;
            free.blocks += self.check_bitmap(group, Which::Blocks)?;
            free.inodes += self.check_bitmap(group, Which::Inodes)?;
        }
        self.check_descriptors()?;
        self.check_copies()?;
        Ok(free)
    }

    /// The bitmap of a group as it should be.
    fn expected(&self, group: u64, which: Which) -> Box<BlockData> {
        let geometry = &self.volume.geometry;
        let (journal, seed) = (self.volume.journal, self.volume.seed);
        match which {
            Which::Blocks => {
                groups::block_bitmap(geometry, journal, seed, group, |block| self.used.get(block))
            }
            Which::Inodes => {
                groups::inode_bitmap(geometry, seed, group, |ino| self.inodes.in_use(ino))
            }
        }
    }

    /// Checks one bitmap, gives its free count.
    fn check_bitmap(&mut self, group: u64, which: Which) -> Result<u64> {
        let geometry = self.volume.geometry;
        let place = which.place(&self.volume, group);
        let name = which.name();
        if self.flag(group, which.fresh_flag()) {
            let any = match which {
                Which::Blocks => self.used.any_in(group),
                Which::Inodes => self.inodes.used_in(group).next().is_some(),
            };
            if !any {
                return Ok(match which {
                    Which::Blocks => {
                        groups::fresh_free_blocks(&geometry, self.volume.journal, group)
                    }
                    Which::Inodes => {
                        let first = geometry.ino_at(group, 0);
                        let reserved = xv6::layout::FIRST_INO.saturating_sub(first);
                        u64::from(geometry.group_inodes) - reserved
                    }
                });
            }
            self.log.major(format_args!(
                "group {group}: in use, but the {name} was never written"
            ));
            self.clear_flag(group, which.fresh_flag());
            let expected = self.expected(group, which);
            self.volume.write(place, &expected)?;
            return Ok(image::load::<BitmapHeader>(&expected[..], 0)
                .map_or(0, |header| header.free.get().into()));
        }
        let expected = self.expected(group, which);
        let (data, good) = read_bitmap(&self.volume, group, which)?;
        let want = image::load::<BitmapHeader>(&expected[..], 0);
        let free = want.map_or(0, |header| header.free.get().into());
        if data[..] == expected[..] {
            return Ok(free);
        }
        match good {
            Err(what) => self
                .log
                .major(format_args!("group {group}: the {name} has a {what}")),
            Ok(()) => self.tell_difference(group, which, &data, &expected),
        }
        self.volume.write(place, &expected)?;
        Ok(free)
    }

    fn tell_difference(&mut self, group: u64, which: Which, data: &BlockData, want: &BlockData) {
        let geometry = self.volume.geometry;
        let before = self.log.found;
        let (bits, what) = match which {
            Which::Blocks => (GROUP_BLOCKS as usize, "blocks"),
            Which::Inodes => (MAX_GROUP_INODES as usize, "inodes"),
        };
        let number = |bit: usize| match which {
            Which::Blocks => geometry.group_start(group) + bit as u64,
            Which::Inodes => geometry.ino_at(group, bit),
        };
        if let Some((count, first)) = difference(want, data, bits) {
            self.log.major(format_args!(
                "group {group}: {count} {what} in use are marked as free, the first is {}",
                number(first)
            ));
        }
        if let Some((count, first)) = difference(data, want, bits) {
            self.log.minor(format_args!(
                "group {group}: {count} {what} are free but marked as in use, the first is {}",
                number(first)
            ));
        }
        let load = |data: &BlockData| image::load::<BitmapHeader>(&data[..], 0);
        if let (Some(says), Some(is)) = (load(data), load(want)) {
            if says.free != is.free {
                self.log.minor(format_args!(
                    "group {group}: the {} says {} free, there are {}",
                    which.name(),
                    says.free,
                    is.free
                ));
            }
            if which == Which::Inodes
                && (says.orphans != is.orphans
                    || data.get(ORPHAN_BITS..) != want.get(ORPHAN_BITS..))
            {
                self.log
                    .minor(format_args!("group {group}: orphans that are none"));
            }
        }
        if self.log.found == before {
            self.log.minor(format_args!(
                "group {group}: unused parts of the {} are not zero",
                which.name()
            ));
        }
    }

    /// Writes descriptors whose flags have changed, or that are damaged.
    fn check_descriptors(&mut self) -> Result {
        let geometry = self.volume.geometry;
        for index in 0..geometry.descriptor_blocks() {
            let place = geometry.super_block(0) + 1 + index;
            let flags = |group: u64| self.flags.get(group as usize).copied().unwrap_or(0);
            let expected = groups::descriptors(&geometry, self.volume.seed, index, place, flags);
            let data = self.volume.read(place)?;
            if data[..] == expected[..] {
                continue;
            }
            let (_, first) = geometry.descriptor(0);
            let last = first + GROUPS_PER_BLOCK as usize * size_of::<GroupDescriptor>();
            if self.volume.is_sealed(&data) && data.get(first..last) == expected.get(first..last) {
                self.log.minor(format_args!(
                    "unused parts of block {place} of the descriptors are not as they should be"
                ));
            }
            self.volume.write(place, &expected)?;
        }
        Ok(())
    }

    /// Checks the copies of the super block and the descriptors. A copy's flags may be old.
    fn check_copies(&mut self) -> Result {
        let geometry = self.volume.geometry;
        let seed = self.volume.seed;
        for (group, place) in groups::copies_of(&geometry, self.volume.overlay.blocks()) {
            let mut want = self.volume.super_block;
            want.group = (group as u32).into();
            let data = self.volume.read(place)?;
            let says = image::load::<SuperBlock>(&data[..], 0);
            let same = image::is_sealed_super(&data)
                && says.is_some_and(|says| timeless(says).as_bytes() == timeless(want).as_bytes());
            if !same {
                self.log.minor(format_args!(
                    "the copy of the super block in block {place} is damaged or differs"
                ));
                self.volume.write(place, &image::super_block_data(&want))?;
            }
            if group >= geometry.groups() {
                continue;
            }
            for index in 0..geometry.descriptor_blocks() {
                let at = place + 1 + index;
                let data = self.volume.read(at)?;
                let identity = Identity {
                    magic: MAGIC_GROUPS,
                    owner: index * GROUPS_PER_BLOCK,
                    generation: 0,
                };
                let good = self.volume.check_header(&data, at, identity).is_ok()
                    && self.volume.is_sealed(&data);
                if !good {
                    self.log.minor(format_args!(
                        "the copy of the descriptors in block {at} is damaged"
                    ));
                    let flags = |group: u64| self.flags.get(group as usize).copied().unwrap_or(0);
                    let data = groups::descriptors(&geometry, seed, index, at, flags);
                    self.volume.write(at, &data)?;
                }
            }
        }
        Ok(())
    }
}

/// A super block without what changes while the volume is in use.
fn timeless(mut super_block: SuperBlock) -> SuperBlock {
    super_block.checksum = 0.into();
    super_block.state = 0.into();
    super_block.free_blocks = 0.into();
    super_block.free_inodes = 0.into();
    super_block
}
