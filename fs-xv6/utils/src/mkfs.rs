// SPDX-License-Identifier: GPL-2.0

//! Makes a volume.
//!
//! Little is written: the super block, the descriptors and their copies, the journal's first block,
//! and of group 0 the bitmaps and the first block of the inode table. All other bitmaps are marked
//! as never written.

mod plan;

pub use plan::{
    plan,
    MkfsOptions,
    Plan,
    MAX_JOURNAL,
    MIN_JOURNAL, //
};

use crate::{
    failure::{
        Context,
        Result, //
    },
    groups::{
        self,
        Run, //
    },
    image,
};
use kernel::user::{
    device::{
        BlockData,
        Device, //
    },
    journal::mkjournal, //
};
use std::collections::BTreeMap;
use xv6::layout::{
    DirRoot,
    Geometry,
    RawInode,
    GROUP_BLOCKS_UNINIT,
    GROUP_INODES_UNINIT,
    ROOT_INO,
    SUPER_MAGIC, //
};
use zerocopy::FromZeros;

/// Blocks at the start of the device that are cleared, so that no other file system is found there:
/// 128 KiB.
const WIPED: u64 = 32;

/// Makes a volume on `device` as `options` say.
pub fn mkfs(device: &dyn Device, options: &MkfsOptions) -> Result<Plan> {
    let plan = plan(device.blocks(), options)?;
    format(device, &plan)?;
    Ok(plan)
}

/// The root directory's record.
fn root_record(plan: &Plan) -> RawInode {
    let mut raw = RawInode::new_zeroed();
    raw.mode = (0o40000 | plan.root_mode).into();
    raw.ino = ROOT_INO.into();
    raw.generation = plan.root_generation.into();
    raw.nlink = 2.into();
    raw.uid = plan.root_owner.0.into();
    raw.gid = plan.root_owner.1.into();
    let now = plan.super_block.created;
    (raw.atime, raw.mtime, raw.ctime, raw.btime) = (now, now, now, now);
    let root = DirRoot {
        parent: ROOT_INO.into(),
        ..DirRoot::default()
    };
    image::store(&mut raw.root, 0, &root);
    image::seal_inode(plan.super_block.seed(), &mut raw);
    raw
}

/// Writes a planned volume.
///
/// The super block comes last: an interrupted mkfs leaves nothing that mounts.
pub fn format(device: &dyn Device, plan: &Plan) -> Result {
    let geometry = plan.super_block.geometry();
    let seed = plan.super_block.seed();
    let journal = plan.journal();
    let journal_group = geometry.group_of(journal.start);

    let mut writes: BTreeMap<u64, Box<BlockData>> = BTreeMap::new();
    for group in [0, journal_group] {
        let bitmap = groups::block_bitmap(&geometry, journal, seed, group, |_| false);
        writes.insert(geometry.block_bitmap(group), bitmap);
    }
    let bitmap = groups::inode_bitmap(&geometry, seed, 0, |_| false);
    writes.insert(geometry.inode_bitmap(0), bitmap);

    let (block, offset) = geometry.inode_place(ROOT_INO);
    let mut table = image::zeroed();
    image::store(&mut table[..], offset, &root_record(plan));
    writes.insert(block, table);

    let flags = |group| match group {
        0 => 0,
        _ if group == journal_group => GROUP_INODES_UNINIT,
        _ => GROUP_BLOCKS_UNINIT | GROUP_INODES_UNINIT,
    };
    for group in (0..geometry.groups()).filter(|&group| geometry.has_super(group)) {
        let place = geometry.super_block(group);
        for index in 0..geometry.descriptor_blocks() {
            let at = place + 1 + index;
            let data = groups::descriptors(&geometry, seed, index, at, flags);
            writes.insert(at, data);
        }
    }
    for (group, place) in groups::copies_of(&geometry, device.blocks()) {
        let mut copy = plan.super_block;
        copy.group = (group as u32).into();
        writes.insert(place, image::super_block_data(&copy));
    }

    device
        .zero(0, WIPED.min(geometry.data_start(0)))
        .context("cannot clear the start of the device")?;
    clear_copies(device, &geometry)?;
    device.flush().context("cannot flush the device")?;
    write_runs(device, &writes)?;
    journal_super_block(device, plan)?;
    device.flush().context("cannot flush the device")?;
    device
        .write(
            geometry.super_block(0),
            &image::super_block_data(&plan.super_block)[..],
        )
        .context("cannot write the super block")?;
    device.flush().context("cannot flush the device")
}

/// Clears copies of the super block that an earlier volume has left behind the end of this one.
/// Nothing tells fsck, which takes one if the first is lost, that they are none of this one.
fn clear_copies(device: &dyn Device, geometry: &Geometry) -> Result {
    for (_, block) in groups::copies(device.blocks()) {
        let what = format!("cannot clear block {block}");
        if block >= geometry.blocks
            && image::read(device, block)
                .context(&what)?
                .starts_with(&SUPER_MAGIC)
        {
            device.zero(block, 1).context(&what)?;
        }
    }
    Ok(())
}

/// Writes an empty journal.
fn journal_super_block(device: &dyn Device, plan: &Plan) -> Result {
    let Run { start, len } = plan.journal();
    mkjournal(device, start, len, plan.super_block.uuid).context("cannot write the journal")
}

/// Writes blocks, those that follow each other at once.
fn write_runs(device: &dyn Device, writes: &BTreeMap<u64, Box<BlockData>>) -> Result {
    /// Blocks in one write.
    const MOST: usize = 256;
    let mut blocks = writes.iter().peekable();
    while let Some((&start, data)) = blocks.next() {
        let mut run = data.to_vec();
        let mut next = start + 1;
        while let Some((_, data)) =
            blocks.next_if(|(&block, _)| block == next && run.len() < MOST * data.len())
        {
            run.extend_from_slice(&data[..]);
            next += 1;
        }
        device
            .write(start, &run)
            .context(format_args!("cannot write block {start}"))?;
    }
    Ok(())
}
