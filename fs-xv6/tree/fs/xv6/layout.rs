// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of xv6, version 1: the one place that documents it.
//!
//! The kernel module, `mkfs.xv6` and `fsck.xv6` all compile this file.
//!
//! All numbers are little-endian. A block has 4096 bytes. The volume is cut into groups of
//! [`GROUP_BLOCKS`] blocks, the last one possibly shorter:
//!
//! ```text
//! group:   | boot | super | descriptors | block bitmap | inode bitmap | inode table | data ...
//!           only 0  \__ 0, 1 and powers of 3, 5, 7 __/
//! ```
//!
//! - Block 0 of the volume is left for a boot sector. Group 0 has the super block in block 1, and
//!   each other group in the set of powers has a copy of it in its first block. The group
//!   descriptors follow each, whole; copies are written by mkfs and fsck only, and the kernel uses
//!   the first. A volume of one group has a copy of the super block, for group 1, in the block
//!   behind its end, if that is the device's last block or where group 1 would begin.
//! - The bitmaps stand in this order behind that, in every group, then the inode table. So their
//!   places are computed, not stored.
//! - The journal (jbd2: checksum v3, revoke, 64-bit) is a contiguous run of data blocks, marked as
//!   used in the bitmaps.
//!
//! Every metadata block but those of the inode tables begins with a [`BlockHeader`], whose checksum
//! covers the block; inode records carry a checksum each. Checksums are CRC32C, seeded with
//! [`SuperBlock::seed`]: so a block of an earlier file system on the same device is seen as
//! foreign, even if that one had the same UUID; the header's block number, owner and generation
//! show a misplaced or a stale one.
//!
//! Free counts stand in the header of the bitmap that they count. The super block's totals are
//! valid only while [`STATE_CLEAN`] is set. Descriptors change once, when a group is used for the
//! first time.

use kernel::bento::crc32c;
use zerocopy::little_endian::{
    U16,
    U32,
    U64, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// Size of a block in bytes.
pub const BLOCK_SIZE: usize = 4096;
/// The super block's place on the volume, in blocks.
pub const SUPER_BLOCK: u64 = 1;
/// `SuperBlock::magic`: "xv6fs\0\r\n".
pub const SUPER_MAGIC: [u8; 8] = *b"xv6fs\0\r\n";
/// `SuperBlock::version`.
pub const VERSION: u32 = 1;

/// Bytes of a bitmap block in front of its bits.
pub const BITMAP_HEADER: usize = 64;
/// Blocks in a group: as many as one bitmap block has bits.
pub const GROUP_BLOCKS: u64 = ((BLOCK_SIZE - BITMAP_HEADER) * 8) as u64;
/// Where the orphan bits of an inode bitmap block begin, in bytes; the inode bits begin at
/// [`BITMAP_HEADER`].
pub const ORPHAN_BITS: usize = BITMAP_HEADER + (BLOCK_SIZE - BITMAP_HEADER) / 2;
/// The most inodes that a group can have. A multiple of [`INODES_PER_BLOCK`].
pub const MAX_GROUP_INODES: u32 = (((BLOCK_SIZE - BITMAP_HEADER) / 2) * 8) as u32;
/// The greatest volume: 16 TiB.
pub const MAX_BLOCKS: u64 = 1 << 32;
/// The least volume.
pub const MIN_BLOCKS: u64 = 2048;

/// Size of an inode record.
pub const INODE_SIZE: usize = 256;
/// Inode records in a block.
pub const INODES_PER_BLOCK: u32 = (BLOCK_SIZE / INODE_SIZE) as u32;
/// The root directory.
pub const ROOT_INO: u64 = 1;
/// The internal log (provenance); in use only with [`COMPAT_LOG`].
pub const LOG_INO: u64 = 2;
/// The first inode number for users; those below are reserved, and marked as used.
pub const FIRST_INO: u64 = 11;

/// Compatible feature: inode [`LOG_INO`] holds an internal log. May be ignored by everyone; fsck
/// checks it as it checks a regular file.
pub const COMPAT_LOG: u32 = 1 << 0;
/// Compatible features that this version knows.
pub const COMPAT_KNOWN: u32 = COMPAT_LOG;
/// Read-only-compatible features that this version knows.
pub const RO_COMPAT_KNOWN: u32 = 0;
/// Incompatible features that this version knows.
pub const INCOMPAT_KNOWN: u32 = 0;

/// `SuperBlock::state`: left clean, the totals are valid and there are no orphans.
pub const STATE_CLEAN: u32 = 1 << 0;
/// `SuperBlock::state`: damage was met; fsck is needed.
pub const STATE_ERROR: u32 = 1 << 1;

/// Number of extents, or of index entries, in an inode record.
pub const ROOT_ENTRIES: usize = 6;
/// Entries in a node of an extent tree.
pub const NODE_ENTRIES: usize = (BLOCK_SIZE - NODE_HEADER) / size_of::<RawExtent>();
/// Bytes of a tree node in front of its entries.
pub const NODE_HEADER: usize = 64;
/// The greatest depth of an extent tree: nodes on the way from the record to a leaf, inclusive.
pub const MAX_DEPTH: u16 = 5;
/// Greatest size of a file in bytes: 2^32 - 1 blocks.
pub const MAX_FILE_SIZE: u64 = ((1 << 32) - 1) * BLOCK_SIZE as u64;
/// Greatest number of names of an inode.
pub const MAX_LINKS: u32 = 65_000;
/// Bytes of [`RawInode::root`].
pub const ROOT_SIZE: usize = ROOT_ENTRIES * size_of::<RawExtent>();
/// The longest symbolic link that stands in the inode record; a longer one has a block of its own.
pub const INLINE_LINK: usize = ROOT_SIZE;
/// How much of a longer symbolic link stands in the record, behind the extent that names the block.
pub const LINK_HEAD: usize = ROOT_SIZE - size_of::<RawExtent>();
/// The longest symbolic link.
pub const MAX_LINK: usize = 4095;
/// Bit in `RawExtent::len`: allocated, reads as zeros.
pub const UNWRITTEN: u32 = 1 << 31;

/// `BlockHeader::magic` of a block bitmap.
pub const MAGIC_BLOCK_BITMAP: u32 = u32::from_le_bytes(*b"x6bb");
/// `BlockHeader::magic` of an inode bitmap.
pub const MAGIC_INODE_BITMAP: u32 = u32::from_le_bytes(*b"x6ib");
/// `BlockHeader::magic` of a block of group descriptors.
pub const MAGIC_GROUPS: u32 = u32::from_le_bytes(*b"x6gd");
/// `BlockHeader::magic` of a node of an extent tree.
pub const MAGIC_EXTENTS: u32 = u32::from_le_bytes(*b"x6ex");
/// `BlockHeader::magic` of an inner node of a directory.
pub const MAGIC_DIR_INDEX: u32 = u32::from_le_bytes(*b"x6di");
/// `BlockHeader::magic` of a leaf of a directory.
pub const MAGIC_DIR_LEAF: u32 = u32::from_le_bytes(*b"x6dl");
/// `BlockHeader::magic` of the target of a symbolic link.
pub const MAGIC_LINK: u32 = u32::from_le_bytes(*b"x6ln");

/// The super block: the first bytes of its block; the rest of the block is zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SuperBlock {
    /// [`SUPER_MAGIC`].
    pub magic: [u8; 8],
    /// CRC32C (unseeded: all ones) of the whole block with this field zero.
    pub checksum: U32,
    /// [`VERSION`].
    pub version: U32,
    /// `COMPAT_*`.
    pub compat: U32,
    /// `RO_COMPAT_*`.
    pub ro_compat: U32,
    /// `INCOMPAT_*`.
    pub incompat: U32,
    /// `STATE_*`.
    pub state: U32,
    /// Identifies the volume.
    pub uuid: [u8; 16],
    /// Name, padded with NUL.
    pub label: [u8; 32],
    /// Key of the directories' hash: random, and with the UUID what seeds every other checksum.
    pub hash_key: [U64; 2],
    /// Size of the volume in blocks.
    pub blocks: U64,
    /// First block of the journal.
    pub journal_start: U64,
    /// Blocks of the journal.
    pub journal_blocks: U64,
    /// The group whose copy this is.
    pub group: U32,
    /// Inodes in each group, the last one too: a multiple of [`INODES_PER_BLOCK`].
    pub group_inodes: U32,
    /// Free blocks, valid if [`STATE_CLEAN`].
    pub free_blocks: U64,
    /// Free inodes, valid if [`STATE_CLEAN`].
    pub free_inodes: U64,
    /// When mkfs made it, in seconds.
    pub created: U64,
    /// 4096: for programs that read the block with less knowledge.
    pub block_size: U32,
    /// Zero.
    pub reserved: U32,
}

/// What stands in front of every metadata block but the super block and the inode tables.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockHeader {
    /// What the block is: `MAGIC_*`.
    pub magic: U32,
    /// CRC32C of the whole block with this field zero, seeded with [`SuperBlock::seed`].
    pub checksum: U32,
    /// The block's own number.
    pub block: U64,
    /// The inode that it belongs to, or the group.
    pub owner: U64,
    /// The inode's generation, or zero.
    pub generation: U32,
    /// Level in a tree, leaves are 0.
    pub level: U16,
    /// Entries in use.
    pub count: U16,
}

/// Offset of `BlockHeader::checksum`.
pub const HEADER_CHECKSUM: usize = 4;

/// The header of a bitmap block, [`BITMAP_HEADER`] bytes.
///
/// A set bit is a block or inode in use. Bits behind the end of the group are set. The bits of an
/// inode bitmap begin at [`BITMAP_HEADER`], and again at [`ORPHAN_BITS`] those that tell the
/// orphans: inodes without a name that are to be freed, or files that are to be cut at their size.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BitmapHeader {
    /// Owner is the group.
    pub header: BlockHeader,
    /// Zero bits (inode bitmap: of the first half) in front of the end of the group.
    pub free: U32,
    /// Set orphan bits; zero in a block bitmap.
    pub orphans: U32,
    /// Zero.
    pub reserved: [U32; 6],
}

/// `GroupDescriptor::flags`: the block bitmap was never written; in use are just the group's own
/// metadata, the copies and the journal.
pub const GROUP_BLOCKS_UNINIT: u32 = 1 << 0;
/// `GroupDescriptor::flags`: the inode bitmap was never written; no inode of the group is in use.
pub const GROUP_INODES_UNINIT: u32 = 1 << 1;

/// What is known of a group beside its bitmaps.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GroupDescriptor {
    /// `GROUP_*`.
    pub flags: U32,
    /// Zero.
    pub reserved: [U32; 3],
}

/// Bytes of a block of descriptors in front of the first; its header's owner is the first group in
/// it.
pub const GROUPS_HEADER: usize = 64;
/// Descriptors in a block.
pub const GROUPS_PER_BLOCK: u64 =
    ((BLOCK_SIZE - GROUPS_HEADER) / size_of::<GroupDescriptor>()) as u64;

/// An extent in a leaf, or an entry in an inner node of an extent tree.
///
/// Entries stand from [`NODE_HEADER`] on in a node, `BlockHeader::count` of them, in ascending
/// order and without overlap. No node but the root is empty. An extent lies in the data area of one
/// group.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RawExtent {
    /// First block in the file. In an inner node: the least that the child may hold, but for the
    /// first entry. That one's child is there for all from the beginning of the node's range, which
    /// is 0 for the root; what stands here is not less. So the children cover their node's range
    /// without gaps.
    pub file_block: U32,
    /// Length in blocks and [`UNWRITTEN`]. In an inner node zero.
    pub len: U32,
    /// First block on the volume, or the child.
    pub block: U64,
}

/// The head of a directory's tree, in [`RawInode::root`].
///
/// A directory is a B+ tree over the keyed hash of its names. An empty one has no block. Inner
/// nodes hold [`DirIndex`] entries from [`NODE_HEADER`] on, leaves hold [`DirEntry`] from
/// [`NODE_HEADER`] on; see `dir.rs`. Children are named by block of the volume.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirRoot {
    /// The root node, or zero.
    pub block: U64,
    /// The directory that holds this one; the root directory is its own parent.
    pub parent: U64,
    /// Entries.
    pub entries: U64,
    /// Level of the root node.
    pub level: U16,
    /// Zero.
    pub reserved: [U16; 3],
}

/// An entry of an inner node of a directory.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirIndex {
    /// The least key that the child may hold, a multiple of [`SLOTS`]. Zero in the first entry of a
    /// node, whose child takes all that lies below the second.
    pub key: U64,
    /// The child.
    pub block: U64,
}

/// The greatest level of a directory's root node.
pub const MAX_DIR_LEVEL: u16 = 4;

/// The fixed part of an entry in a leaf of a directory; the name follows, and padding with zeros to
/// 8 bytes.
///
/// Entries stand in the order of their keys, without gaps: `BlockHeader::count` of them, and the
/// bytes in use (with the header) in the `u16` at [`LEAF_USED`]. No leaf is empty.
///
/// A key is the keyed hash of the name, above a slot of [`SLOT_BITS`] bits that tells names of
/// equal hash apart: so keys are unique, and stay with an entry as long as it is there. Names of
/// equal hash stand in one leaf. A directory takes [`SLOTS`] of them, and refuses more with ENOSPC.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirEntry {
    /// The key, see above; never less than [`SLOTS`].
    pub key: U64,
    /// The inode.
    pub ino: U64,
    /// Length of the name in bytes.
    pub name_len: u8,
    /// The inode's kind, as in `d_type`.
    pub kind: u8,
    /// Zero.
    pub reserved: U16,
    /// Zero.
    pub reserved2: U32,
}

/// Offset in a directory leaf of the number of bytes in use.
pub const LEAF_USED: usize = size_of::<BlockHeader>();
/// Bits of a name's hash, see [`Hasher`](super::hash::Hasher). With the slot they are two less than
/// 64: the key plus one is a readdir position, which `loff_t` has to hold.
pub const HASH_BITS: u32 = 62 - SLOT_BITS;
/// Bits of a key below the hash.
pub const SLOT_BITS: u32 = 3;
/// Names of equal hash that a directory takes.
pub const SLOTS: u64 = 1 << SLOT_BITS;

/// An inode record.
///
/// It counts only if the inode's bit in the bitmap is set. A block of the table none of whose
/// inodes is in use may hold anything: mkfs does not write it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawInode {
    /// CRC32C of the record with this field zero, seeded with [`SuperBlock::seed`].
    pub checksum: U32,
    /// Type and permissions.
    pub mode: U16,
    /// Depth of the extent tree: 0 if `root` holds extents.
    pub depth: U16,
    /// The inode's own number.
    pub ino: U64,
    /// Tells one use of the number from the next.
    pub generation: U32,
    /// Names.
    pub nlink: U32,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Size in bytes.
    pub size: U64,
    /// Space in use, data and tree, in blocks.
    pub blocks: U64,
    /// Last access, seconds (signed).
    pub atime: U64,
    /// Last change of content, seconds.
    pub mtime: U64,
    /// Last change, seconds.
    pub ctime: U64,
    /// Creation, seconds.
    pub btime: U64,
    /// Nanoseconds of the same four.
    pub atime_nsec: U32,
    /// See above.
    pub mtime_nsec: U32,
    /// See above.
    pub ctime_nsec: U32,
    /// See above.
    pub btime_nsec: U32,
    /// Change counter.
    pub version: U64,
    /// `FS_*_FL`.
    pub flags: U32,
    /// Device number.
    pub rdev: U32,
    /// Block of extended attributes; zero, until a later version.
    pub xattr_block: U64,
    /// Project; zero, until a later version.
    pub project: U32,
    /// Entries in `root` that are in use.
    pub root_count: U16,
    /// Zero.
    pub reserved: U16,
    /// Extents or index entries of a regular file; [`DirRoot`] of a directory; the target of a
    /// symbolic link up to [`INLINE_LINK`] bytes. Of a longer one an extent of one block, and the
    /// first [`LINK_HEAD`] bytes; the others stand in that block, from [`NODE_HEADER`] on. Then
    /// `root_count` is 1. What is not in use is zero.
    pub root: [u8; ROOT_SIZE],
    /// Zero.
    pub spare: [u8; 32],
}

const _: () = assert!(size_of::<RawInode>() == INODE_SIZE);
const _: () = assert!(size_of::<BitmapHeader>() == BITMAP_HEADER);
const _: () = assert!(size_of::<BlockHeader>() == 32);
const _: () = assert!(size_of::<RawExtent>() == 16);
const _: () = assert!(size_of::<DirRoot>() <= ROOT_SIZE);
const _: () = assert!(LINK_HEAD + BLOCK_SIZE - NODE_HEADER >= MAX_LINK);
const _: () = assert!(MAX_GROUP_INODES % INODES_PER_BLOCK == 0);

impl SuperBlock {
    /// The seed of all checksums but the super block's own.
    ///
    /// Who gives a volume its UUID may have given it to an earlier one on the same device, of which
    /// mkfs leaves most as it is. The key is another one.
    pub fn seed(&self) -> u32 {
        let seed = crc32c(!0, &self.uuid);
        crc32c(seed, zerocopy::IntoBytes::as_bytes(&self.hash_key))
    }

    /// Where everything is.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            blocks: self.blocks.get(),
            group_inodes: self.group_inodes.get(),
        }
    }
}

/// Where everything is on a volume: computed from its size and the inodes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size of the volume in blocks: [`MIN_BLOCKS`] to [`MAX_BLOCKS`].
    pub blocks: u64,
    /// Inodes in each group: a positive multiple of [`INODES_PER_BLOCK`], at most
    /// [`MAX_GROUP_INODES`].
    pub group_inodes: u32,
}

impl Geometry {
    /// Whether the fields are within their bounds, and the last group has room for its own
    /// metadata. All else is defined only if this holds.
    pub fn is_valid(&self) -> bool {
        self.blocks >= MIN_BLOCKS
            && self.blocks <= MAX_BLOCKS
            && self.group_inodes >= INODES_PER_BLOCK
            && self.group_inodes <= MAX_GROUP_INODES
            && self.group_inodes % INODES_PER_BLOCK == 0
            && self.has_room(0)
            && self.has_room(self.groups().saturating_sub(1))
    }

    /// Whether anything of a group is left behind its own metadata.
    fn has_room(&self, group: u64) -> bool {
        self.data_start(group) < self.group_end(group)
    }

    /// Inodes of a group, never zero.
    fn inodes(&self) -> u64 {
        self.group_inodes.max(1).into()
    }

    /// Number of groups.
    pub fn groups(&self) -> u64 {
        self.blocks.div_ceil(GROUP_BLOCKS)
    }

    /// The group of a block.
    pub fn group_of(&self, block: u64) -> u64 {
        block / GROUP_BLOCKS
    }

    /// The group of an inode.
    pub fn group_of_ino(&self, ino: u64) -> u64 {
        let index = ino.saturating_sub(1);
        index.checked_div(self.inodes()).unwrap_or(0)
    }

    /// The bit of an inode in its group's bitmap.
    pub fn ino_bit(&self, ino: u64) -> usize {
        let index = ino.saturating_sub(1);
        index.checked_rem(self.inodes()).unwrap_or(0) as usize
    }

    /// The inode of a bit in a group's bitmap.
    pub fn ino_at(&self, group: u64, bit: usize) -> u64 {
        let first = group.saturating_mul(self.inodes()).saturating_add(1);
        first.saturating_add(bit as u64)
    }

    /// The greatest inode number.
    pub fn max_ino(&self) -> u64 {
        self.groups().saturating_mul(self.inodes())
    }

    /// First block of a group.
    pub fn group_start(&self, group: u64) -> u64 {
        group.saturating_mul(GROUP_BLOCKS)
    }

    /// First block behind a group.
    pub fn group_end(&self, group: u64) -> u64 {
        let end = self.group_start(group).saturating_add(GROUP_BLOCKS);
        end.min(self.blocks)
    }

    /// Whether a group has a copy of the super block and the descriptors.
    pub fn has_super(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            let mut n: u64 = 1;
            while n < group {
                n = n.saturating_mul(base);
            }
            n == group
        };
        group <= 1 || power_of(3) || power_of(5) || power_of(7)
    }

    /// The block of the super block's copy in a group that has one.
    pub fn super_block(&self, group: u64) -> u64 {
        let boot = if group == 0 { SUPER_BLOCK } else { 0 };
        self.group_start(group).saturating_add(boot)
    }

    /// Blocks of descriptors.
    pub fn descriptor_blocks(&self) -> u64 {
        self.groups().div_ceil(GROUPS_PER_BLOCK)
    }

    /// The block and the offset in it of a group's descriptor, in the first copy.
    pub fn descriptor(&self, group: u64) -> (u64, usize) {
        let block = (SUPER_BLOCK + 1).saturating_add(group / GROUPS_PER_BLOCK);
        let index = (group % GROUPS_PER_BLOCK) as usize;
        let offset = index.saturating_mul(size_of::<GroupDescriptor>());
        (block, offset.saturating_add(GROUPS_HEADER))
    }

    /// The block bitmap of a group.
    pub fn block_bitmap(&self, group: u64) -> u64 {
        if self.has_super(group) {
            let copies = self.descriptor_blocks().saturating_add(1);
            self.super_block(group).saturating_add(copies)
        } else {
            self.group_start(group)
        }
    }

    /// The inode bitmap of a group.
    pub fn inode_bitmap(&self, group: u64) -> u64 {
        self.block_bitmap(group).saturating_add(1)
    }

    /// The first block of a group's inode table.
    pub fn inode_table(&self, group: u64) -> u64 {
        self.block_bitmap(group).saturating_add(2)
    }

    /// The first block behind a group's own metadata.
    pub fn data_start(&self, group: u64) -> u64 {
        let table = self.group_inodes / INODES_PER_BLOCK;
        self.inode_table(group).saturating_add(table.into())
    }

    /// The block and the offset in it of an inode's record. `ino` is 1 to [`Geometry::max_ino`].
    pub fn inode_place(&self, ino: u64) -> (u64, usize) {
        let bit = self.ino_bit(ino);
        const PER_BLOCK: usize = INODES_PER_BLOCK as usize;
        let table = self.inode_table(self.group_of_ino(ino));
        let block = table.saturating_add((bit / PER_BLOCK) as u64);
        (block, (bit % PER_BLOCK).saturating_mul(INODE_SIZE))
    }

    /// Whether a run of blocks lies in the data area of one group.
    pub fn is_data(&self, start: u64, len: u64) -> bool {
        let group = self.group_of(start);
        match start.checked_add(len) {
            Some(end) => {
                len > 0
                    && start < self.blocks
                    && start >= self.data_start(group)
                    && end <= self.group_end(group)
            }
            None => false,
        }
    }
}
