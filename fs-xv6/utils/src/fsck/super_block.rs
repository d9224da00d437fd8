// SPDX-License-Identifier: GPL-2.0

//! The super block: found, from a copy if it has to be.

use super::log::Log;
use crate::{
    failure::{
        Context,
        Failure,
        Result, //
    },
    groups,
    image, //
};
use kernel::user::device::{
    BlockData,
    Device, //
};
use xv6::layout::{
    SuperBlock,
    BLOCK_SIZE,
    INCOMPAT_KNOWN,
    MAX_BLOCKS,
    RO_COMPAT_KNOWN,
    SUPER_BLOCK,
    SUPER_MAGIC,
    VERSION, //
};

/// Why a super block is of no use.
enum Bad {
    /// Damaged: a copy may be better.
    Damaged(String),
    /// Sound, but not for this program.
    Foreign(String),
}

/// The super block in `data`, which stands in `block` for `group`, if it is one that can be worked
/// with.
fn check(
    data: &BlockData,
    (group, block): (u64, u64),
    device_blocks: u64,
) -> Result<SuperBlock, Bad> {
    let damaged = |what: &str| Err(Bad::Damaged(what.to_string()));
    let Some(s) = image::load::<SuperBlock>(&data[..], 0) else {
        return damaged("size");
    };
    if s.magic != SUPER_MAGIC {
        return damaged("wrong magic");
    }
    if !image::is_sealed_super(data) {
        return damaged("wrong checksum");
    }
    if s.version.get() != VERSION {
        return Err(Bad::Foreign(format!(
            "version {} of the format: this program knows {VERSION}",
            s.version
        )));
    }
    let unknown = s.incompat.get() & !INCOMPAT_KNOWN;
    if unknown != 0 {
        return Err(Bad::Foreign(format!(
            "unknown incompatible features {unknown:#x}"
        )));
    }
    let unknown = s.ro_compat.get() & !RO_COMPAT_KNOWN;
    if unknown != 0 {
        return Err(Bad::Foreign(format!(
            "unknown read-only-compatible features {unknown:#x}"
        )));
    }
    if s.block_size.get() as usize != BLOCK_SIZE {
        return damaged("wrong block size");
    }
    if u64::from(s.group.get()) != group {
        return damaged("wrong group");
    }
    let geometry = s.geometry();
    if s.blocks.get() > MAX_BLOCKS || !geometry.is_valid() {
        return damaged("impossible size or number of inodes");
    }
    if groups::place_of(&geometry, group) != Some(block) {
        return damaged("size that its place does not fit");
    }
    if !geometry.is_data(s.journal_start.get(), s.journal_blocks.get()) {
        return damaged("impossible place of the journal");
    }
    if s.journal_blocks.get() < crate::mkfs::MIN_JOURNAL {
        return damaged("impossible size of the journal");
    }
    if s.blocks.get() > device_blocks {
        return Err(Bad::Foreign(format!(
            "the volume has {} blocks, its device only {device_blocks}",
            s.blocks
        )));
    }
    Ok(s)
}

/// Finds the super block: the first, else the first good copy, with which the first is then
/// replaced.
///
/// # Errors
///
/// A sentence if there is none that can be worked with.
pub fn find(device: &dyn Device, log: &mut Log<'_>) -> Result<SuperBlock> {
    let read = |block| {
        image::read(device, block)
            .context(format_args!("cannot read the super block in block {block}"))
    };
    if device.blocks() <= SUPER_BLOCK {
        return Err(Failure::new("too small for an xv6 file system"));
    }
    let reason = match check(&*read(SUPER_BLOCK)?, (0, SUPER_BLOCK), device.blocks()) {
        Ok(super_block) => return Ok(super_block),
        Err(Bad::Foreign(why)) => return Err(Failure::new(why)),
        Err(Bad::Damaged(why)) => why,
    };
    for (group, block) in groups::copies(device.blocks()) {
        if let Ok(mut super_block) = check(&*read(block)?, (group, block), device.blocks()) {
            log.major(format_args!(
                "the super block has a {reason}: the copy in block {block} takes its place"
            ));
            // What it says of the state is as old as the copy.
            super_block.group = 0.into();
            super_block.state = 0.into();
            device
                .write(SUPER_BLOCK, &image::super_block_data(&super_block)[..])
                .context("cannot write the super block")?;
            return Ok(super_block);
        }
    }
    Err(Failure::new(format!(
        "no xv6 file system: the super block has a {reason}, and no copy of it was found"
    )))
}
