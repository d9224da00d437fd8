// SPDX-License-Identifier: GPL-2.0

//! Plain types that pass between the core and a file system.
//!
//! This file is compiled in both worlds: as part of the kernel crate, and as part of the crate of
//! that name that cargo gives to a file system in user space. It names nothing but `core` and
//! `crate::error`.

use crate::error::{
    code::*,
    Result, //
};
use core::ops::Range;

/// An inode number. Zero names no inode.
pub type Ino = u64;

/// The number of a block on the volume, in units of the volume's block size.
pub type Block = u64;

/// The longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;

/// The name of one directory entry: 1 to 255 bytes, neither '/' nor NUL among them.
///
/// `.` and `..` never reach a file system: the core answers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` above [`NAME_MAX`]; `EINVAL` for an empty name, `.`, `..` and a name with a
    /// forbidden byte.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|b| matches!(b, 0 | b'/')) {
            return Err(EINVAL);
        }
        Ok(Self(bytes))
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// What an inode is. The values are those of `S_IFMT >> 12` and of `d_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A named pipe.
    Fifo = 1,
    /// A character device.
    CharDevice = 2,
    /// A directory.
    Directory = 4,
    /// A block device.
    BlockDevice = 6,
    /// A regular file.
    Regular = 8,
    /// A symbolic link.
    Symlink = 10,
    /// A socket.
    Socket = 12,
}

impl Kind {
    /// The kind that `d_type` (or `mode >> 12`) names.
    pub fn from_dtype(dtype: u8) -> Option<Self> {
        Some(match dtype {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }

    /// The kind in the upper four bits of a mode.
    pub fn from_mode(mode: u16) -> Option<Self> {
        Self::from_dtype((mode >> 12) as u8)
    }

    /// The kind's value in `d_type`.
    pub fn dtype(self) -> u8 {
        self as u8
    }
}

/// A point in time: seconds since the epoch, and 0 to 999,999,999 nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: u32,
}

/// The attributes of an inode, as they are stored.
///
/// In memory `struct inode` holds them (in user space the core's inode); this is the form in which
/// they cross between it and a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Type and permissions, as in `stat`.
    pub mode: u16,
    /// Number of names. For a directory 2 plus its subdirectories.
    pub nlink: u32,
    /// Owner, as a number of the initial user namespace.
    pub uid: u32,
    /// Group, as a number of the initial user namespace.
    pub gid: u32,
    /// Size in bytes: the on-disk size, which `i_size` runs ahead of until data is published.
    pub size: u64,
    /// Space in use, data and mapping blocks, in units of 512 bytes. A file that counts none has
    /// nothing mapped: it is cut without asking the file system to free anything.
    pub sectors: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of content or attributes.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
    /// Tells one use of an inode number from the next, for file handles.
    pub generation: u32,
    /// The change counter, as `inode_peek_iversion()` gives it.
    pub version: u64,
    /// `FS_*_FL` flags.
    pub flags: u32,
    /// Device number of a device node, in the encoding of `new_encode_dev()`.
    pub rdev: u32,
}

/// A run of blocks of a file and the blocks of the volume that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block in the file, in blocks.
    pub file_block: u64,
    /// First block on the volume.
    pub block: Block,
    /// Length in blocks, never zero.
    pub len: u64,
    /// Allocated, but reads as zeros.
    pub unwritten: bool,
}

impl Extent {
    /// The first block of the file behind the extent.
    ///
    /// Saturates; an extent that a file system hands out never comes near.
    pub fn file_end(&self) -> u64 {
        self.file_block.saturating_add(self.len)
    }
}

/// A range of a file in blocks: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// First block.
    pub start: u64,
    /// First block behind the range.
    pub end: u64,
}

/// What [`FileSystem::map`](super::FileSystem::map) found at the start of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Nothing is mapped for this many blocks, at least one.
    Hole {
        /// Length in blocks. May end before the next extent, never behind it.
        len: u64,
    },
    /// Blocks that are part of the file.
    Mapped(Extent),
    /// Blocks that were free and that the file system has claimed for this range, for the core
    /// to hold as pending until they are published. Only for [`Intent::Allocate`].
    Claimed(Extent),
}

/// Why a range is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Report what is there.
    Look,
    /// Report what is there; over a hole, choose and claim blocks.
    Allocate,
}

/// Whether a step-wise operation has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Call again, with a new or an extended handle.
    More,
    /// Nothing is left to do.
    Done,
}

/// What a block that is freed was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockUse {
    /// File data: never in the journal.
    Data,
    /// A metadata block, which may be in the journal: needs a revoke and a forget.
    Metadata,
}

/// The journal's place on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalArea {
    /// First block of the contiguous region, which holds the journal's super block.
    pub start: Block,
    /// Length in blocks.
    pub len: u64,
}

impl From<Range<Block>> for JournalArea {
    fn from(blocks: Range<Block>) -> Self {
        Self {
            start: blocks.start,
            len: blocks.end.saturating_sub(blocks.start),
        }
    }
}

/// What the core needs to know of a volume before and while it is mounted.
///
/// All of it is fixed for the time of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Size of the volume in blocks.
    pub blocks: u64,
    /// The journal.
    pub journal: JournalArea,
    /// The root directory.
    pub root: Ino,
    /// Greatest size of a file, in bytes.
    pub max_file_size: u64,
    /// Greatest number of links of an inode.
    pub max_links: u32,
    /// Earliest time that can be stored, in seconds.
    pub time_min: i64,
    /// Latest time that can be stored, in seconds.
    pub time_max: i64,
    /// Identifies the volume.
    pub uuid: [u8; 16],
    /// The volume has a read-only-compatible feature that this file system does not know: it may
    /// only be mounted read-only.
    pub read_only: bool,
}

impl Default for VolumeInfo {
    /// Nothing is there, and nothing is limited but the size of a file.
    fn default() -> Self {
        Self {
            blocks: 0,
            journal: (0..0).into(),
            root: 0,
            max_file_size: 0,
            max_links: u32::MAX,
            time_min: i64::MIN,
            time_max: i64::MAX,
            uuid: [0; 16],
            read_only: false,
        }
    }
}

/// What is free on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Blocks that may ever hold data: all but the fixed metadata.
    pub total_blocks: u64,
    /// Blocks not in use on disk.
    pub free_blocks: u64,
    /// Inodes in all.
    pub total_inodes: u64,
    /// Inodes not in use on disk.
    pub free_inodes: u64,
}

/// Journal credits: the greatest number of metadata blocks that one call may take write access to,
/// at the worst depth that the format allows, and not only at today's.
///
/// The core starts each handle with these numbers before it enters the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credits {
    /// [`FileSystem::create`](super::FileSystem::create).
    pub create: u32,
    /// [`FileSystem::link`](super::FileSystem::link).
    pub link: u32,
    /// [`FileSystem::unlink`](super::FileSystem::unlink).
    pub unlink: u32,
    /// [`FileSystem::rename`](super::FileSystem::rename).
    pub rename: u32,
    /// [`FileSystem::write_inode`](super::FileSystem::write_inode).
    pub write_inode: u32,
    /// One [`FileSystem::publish`](super::FileSystem::publish).
    pub publish: u32,
    /// One step of [`FileSystem::free_blocks`](super::FileSystem::free_blocks).
    pub free_blocks: u32,
    /// Revoke records of one such step.
    pub free_revokes: u32,
    /// [`FileSystem::free_inode`](super::FileSystem::free_inode).
    pub free_inode: u32,
    /// [`FileSystem::set_orphan`](super::FileSystem::set_orphan).
    pub orphan: u32,
    /// [`FileSystem::set_clean`](super::FileSystem::set_clean).
    pub set_clean: u32,
    /// Mapping blocks that an extent of `n` blocks may need: this many at each level of the tree
    /// above the leaves, and `n` over half a node in the leaves.
    pub tree_depth: u32,
    /// Extents that half a mapping block holds; [`u32::MAX`] if there are no mapping blocks.
    pub half_node: u32,
}

impl Credits {
    /// The same number for every operation, no revoke records, and no mapping blocks: for a file
    /// system that keeps the pointers of a file in its inode.
    pub fn uniform(blocks: u32) -> Self {
        Self {
            create: blocks,
            link: blocks,
            unlink: blocks,
            rename: blocks,
            write_inode: blocks,
            publish: blocks,
            free_blocks: blocks,
            free_inode: blocks,
            orphan: blocks,
            set_clean: blocks,
            half_node: u32::MAX,
            ..Self::default()
        }
    }

    /// The greatest number that one operation asks for.
    pub fn largest(&self) -> u32 {
        [
            self.create,
            self.link,
            self.unlink,
            self.rename,
            self.write_inode,
            self.publish,
            self.free_blocks,
            self.free_inode,
            self.orphan,
            self.set_clean,
        ]
        .into_iter()
        .max()
        .unwrap_or(0)
    }
}
