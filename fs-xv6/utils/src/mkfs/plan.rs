// SPDX-License-Identifier: GPL-2.0

//! What a volume will look like: computed from its size and the options, before anything is
//! written.

use crate::{
    failure::{
        Failure,
        Result, //
    },
    groups::{
        self,
        Run, //
    },
    random,
};
use std::time::{
    SystemTime,
    UNIX_EPOCH, //
};
use xv6::layout::{
    Geometry,
    SuperBlock,
    BLOCK_SIZE,
    FIRST_INO,
    GROUP_BLOCKS,
    INODES_PER_BLOCK,
    MAX_BLOCKS,
    MAX_GROUP_INODES,
    MIN_BLOCKS,
    STATE_CLEAN,
    SUPER_MAGIC,
    VERSION, //
};
use zerocopy::FromZeros;

/// Blocks of a MiB, and of a GiB.
const MIB: u64 = (1 << 20) / BLOCK_SIZE as u64;
const GIB: u64 = MIB << 10;

/// The least journal: what jbd2 asks for.
pub const MIN_JOURNAL: u64 = 1024;
/// The greatest journal: whole inside one group.
pub const MAX_JOURNAL: u64 = 120 * MIB;
/// The longest label.
const LABEL_MAX: usize = 32;

/// What may be chosen about a volume. The default is what mkfs.xv6 does without options.
#[derive(Clone, Debug, Default)]
pub struct MkfsOptions {
    /// Size in blocks; else that of the device.
    pub blocks: Option<u64>,
    /// Name, up to 32 bytes.
    pub label: String,
    /// Else random.
    pub uuid: Option<[u8; 16]>,
    /// Inodes in all.
    pub inodes: Option<u64>,
    /// Bytes of the volume for each inode.
    pub bytes_per_inode: Option<u64>,
    /// Blocks of the journal.
    pub journal_blocks: Option<u64>,
    /// Key of the directories' hash; else random.
    pub hash_key: Option<[u64; 2]>,
    /// When it was made, in seconds; else now.
    pub time: Option<u64>,
    /// Owner and group of the root directory.
    pub root_owner: (u32, u32),
    /// Permissions of the root directory; else 0755.
    pub root_mode: Option<u16>,
}

/// A volume that can be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The super block of group 0.
    pub super_block: SuperBlock,
    pub(super) root_generation: u32,
    pub(super) root_owner: (u32, u32),
    pub(super) root_mode: u16,
}

impl Plan {
    /// Where the journal is.
    pub fn journal(&self) -> Run {
        Run {
            start: self.super_block.journal_start.get(),
            len: self.super_block.journal_blocks.get(),
        }
    }
}

/// Plans a volume for a device of `device_blocks` blocks.
pub fn plan(device_blocks: u64, options: &MkfsOptions) -> Result<Plan> {
    let asked = options.blocks.unwrap_or(device_blocks);
    if asked > device_blocks {
        return Err(Failure::new(format!(
            "the size of {asked} blocks is more than the device's {device_blocks}"
        )));
    }
    if asked < MIN_BLOCKS {
        return Err(Failure::new(format!(
            "{asked} blocks are too small: at least {MIN_BLOCKS} blocks ({} MiB) are needed",
            MIN_BLOCKS / MIB
        )));
    }
    if asked > MAX_BLOCKS {
        return Err(Failure::new(format!(
            "{asked} blocks are too large: at most {MAX_BLOCKS} blocks (16 TiB); give a smaller size"
        )));
    }
    if options.label.len() > LABEL_MAX || options.label.contains('\0') {
        return Err(Failure::new("the label is longer than 32 bytes"));
    }
    let geometry = geometry(asked, device_blocks, options)?;
    let journal = journal(&geometry, options)?;

    let random: [u8; 24] = random::bytes()?;
    let word = |at: usize| {
        random
            .iter()
            .skip(at)
            .take(8)
            .fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    let mut super_block = SuperBlock::new_zeroed();
    super_block.magic = SUPER_MAGIC;
    super_block.version = VERSION.into();
    super_block.state = STATE_CLEAN.into();
    super_block.uuid = match options.uuid {
        Some(uuid) => uuid,
        None => random::uuid()?,
    };
    for (to, from) in super_block.label.iter_mut().zip(options.label.bytes()) {
        *to = from;
    }
    let key = options.hash_key.unwrap_or([word(0), word(8)]);
    super_block.hash_key = key.map(Into::into);
    super_block.blocks = geometry.blocks.into();
    super_block.group_inodes = geometry.group_inodes.into();
    super_block.journal_start = journal.start.into();
    super_block.journal_blocks = journal.len.into();
    let free: u64 = (0..geometry.groups())
        .map(|group| groups::fresh_free_blocks(&geometry, journal, group))
        .sum();
    super_block.free_blocks = free.into();
    super_block.free_inodes = (geometry.max_ino() - (FIRST_INO - 1)).into();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    super_block.created = options.time.unwrap_or(now).into();
    super_block.block_size = (BLOCK_SIZE as u32).into();
    Ok(Plan {
        super_block,
        root_generation: word(16) as u32,
        root_owner: options.root_owner,
        root_mode: options.root_mode.unwrap_or(0o755) & 0o7777,
    })
}

/// Where everything stands. A last group too short for its own metadata is left out; and where there
/// is one group only, the device's last block, for a copy of the super block.
fn geometry(blocks: u64, device_blocks: u64, options: &MkfsOptions) -> Result<Geometry> {
    let group_inodes = group_inodes(blocks, options)?;
    let mut geometry = Geometry {
        blocks,
        group_inodes,
    };
    let last = geometry.groups() - 1;
    if last > 0 && geometry.data_start(last) >= geometry.group_end(last) {
        geometry.blocks = geometry.group_start(last);
    }
    if geometry.groups() == 1 && (MIN_BLOCKS + 1..=geometry.blocks).contains(&device_blocks) {
        geometry.blocks = device_blocks - 1;
    }
    if !geometry.is_valid() {
        return Err(Failure::new(format!(
            "{} inodes leave no room for data: ask for fewer",
            geometry.max_ino()
        )));
    }
    Ok(geometry)
}

/// Inodes of each group.
fn group_inodes(blocks: u64, options: &MkfsOptions) -> Result<u32> {
    let per_block = u64::from(INODES_PER_BLOCK);
    let groups = blocks.div_ceil(GROUP_BLOCKS);
    let most = groups * u64::from(MAX_GROUP_INODES);
    let bytes = blocks * BLOCK_SIZE as u64;
    let wanted = match (options.inodes, options.bytes_per_inode) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                "the number of inodes and the bytes per inode exclude each other",
            ))
        }
        (Some(inodes), None) if inodes > most => {
            return Err(Failure::new(format!(
                "{inodes} inodes are too many: a volume of this size has at most {most}"
            )))
        }
        (Some(inodes), None) => inodes,
        (None, Some(ratio)) if ratio < INODES_PER_BLOCK.into() => {
            return Err(Failure::new(format!("{ratio} bytes per inode are too few")))
        }
        (None, Some(ratio)) => bytes / ratio,
        (None, None) if blocks < GIB / 2 => bytes / 8192,
        (None, None) => bytes / 16384,
    };
    // Of whole groups: the last one may be shorter, but has as many inodes.
    let share = match options.inodes {
        Some(_) => wanted.div_ceil(groups),
        None => wanted * GROUP_BLOCKS.min(blocks) / blocks,
    };
    let rounded = share.div_ceil(per_block).max(1) * per_block;
    Ok(rounded.min(MAX_GROUP_INODES.into()) as u32)
}

/// Where the journal stands: whole in the data area of the group in the middle, or of the nearest
/// one that has room.
fn journal(geometry: &Geometry, options: &MkfsOptions) -> Result<Run> {
    let len = options.journal_blocks.unwrap_or(match geometry.blocks {
        blocks if blocks < 128 * MIB => MIN_JOURNAL,
        blocks if blocks < GIB / 2 => 16 * MIB,
        blocks if blocks < GIB => 32 * MIB,
        blocks if blocks < 32 * GIB => 64 * MIB,
        _ => MAX_JOURNAL,
    });
    if !(MIN_JOURNAL..=MAX_JOURNAL).contains(&len) {
        return Err(Failure::new(format!(
            "a journal of {len} blocks: it has {MIN_JOURNAL} to {MAX_JOURNAL} blocks (4 to 120 MiB)"
        )));
    }
    let room = |group: u64| {
        geometry
            .group_end(group)
            .saturating_sub(geometry.data_start(group))
    };
    let middle = geometry.groups() / 2;
    let group = (middle..geometry.groups())
        .chain((0..middle).rev())
        .find(|&group| room(group) > len);
    match group {
        Some(group) => Ok(Run {
            start: geometry.data_start(group),
            len,
        }),
        None => Err(Failure::new(format!(
            "no group has room for a journal of {len} blocks: ask for a smaller one, or for fewer inodes"
        ))),
    }
}
