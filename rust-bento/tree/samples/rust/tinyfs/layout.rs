// SPDX-License-Identifier: GPL-2.0

//! What is on the volume, see [`tinyfs`](super): for mkfs and fsck too.

use kernel::{
    bento::{
        Block,
        Ino,
        JournalArea,
        StoredAttributes,
        Volume,
        NAME_MAX, //
    },
    prelude::*, //
};
use zerocopy::little_endian::U32;
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// [`SuperBlock::magic`].
pub const MAGIC: [u8; 8] = *b"tinyfs\r\n";
/// Size of a block in bytes.
pub const BLOCK: u64 = 4096;
/// Bits in a block of the bitmap.
pub const BITS: u64 = 8 * BLOCK;
/// Where the pointers of an inode begin.
pub const POINTERS: usize = 256;
/// Blocks that a file can have.
pub const MAX: u64 = (BLOCK - POINTERS as u64) / 4;
/// Slots in a block of a directory.
pub const SLOTS: u64 = BLOCK / SLOT as u64;
/// Size of a slot.
pub const SLOT: usize = NAME + NAME_MAX + 1;
/// Where the name is in a slot.
pub const NAME: usize = size_of::<Slot>();
/// In a pointer: the block was allocated, and reads as zeroes.
pub const UNWRITTEN: u32 = 1 << 31;
/// The root directory.
pub const ROOT: Ino = 1;

/// The super block, in block 0.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct SuperBlock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Identifies the volume.
    pub uuid: [u8; 16],
    /// Size of the volume in blocks, less than [`UNWRITTEN`].
    pub blocks: U32,
    /// Number of inodes.
    pub inodes: U32,
    /// Size of the journal in blocks.
    pub journal_blocks: U32,
}

/// An inode, in front of its pointers.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Record {
    /// What `stat` tells.
    pub attributes: StoredAttributes,
    /// The directory that a directory is in.
    pub parent: U32,
    /// Not zero: the next mount frees the inode, or what it has behind its size.
    pub orphan: U32,
}

/// A directory entry, in front of its name.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Slot {
    /// The inode; zero if the slot is free.
    pub ino: U32,
    /// [`Kind::dtype`] of the inode.
    pub kind: u8,
    /// Length of the name.
    pub len: u8,
    /// Zero.
    pub unused: [u8; 2],
}

impl SuperBlock {
    /// Where an inode is.
    pub fn inode(&self, ino: Ino) -> Block {
        u64::from(self.blocks.get()).div_ceil(BITS) + ino
    }

    /// Where the journal is.
    pub fn journal(&self) -> JournalArea {
        JournalArea {
            start: self.inode(self.inodes.get().into()) + 1,
            len: self.journal_blocks.get().into(),
        }
    }

    /// Where the blocks of files are.
    pub fn data(&self) -> core::ops::Range<Block> {
        self.journal().start + self.journal().len..self.blocks.get().into()
    }

    /// Reads and checks it.
    pub(super) fn read(vol: &Volume) -> Result<Self> {
        let this: Self = vol.read(0)?.load(0)?;
        if this.magic != MAGIC || this.data().end > vol.blocks() {
            return Err(vol.refuse(EINVAL, format_args!("no tinyfs that fits the device")));
        }
        if this.data().is_empty() || this.blocks.get() >= UNWRITTEN || this.inodes.get() == 0 {
            return Err(vol.refuse(EUCLEAN, format_args!("the super block makes no sense")));
        }
        Ok(this)
    }
}
