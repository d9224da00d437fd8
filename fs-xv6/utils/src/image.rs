// SPDX-License-Identifier: GPL-2.0

//! Blocks in memory: loads, stores, checksums.

use kernel::{
    bento::crc32c,
    user::device::{
        BlockData,
        Device, //
    }, //
};
use std::mem::{
    offset_of,
    size_of, //
};
use xv6::layout::{
    BlockHeader,
    RawInode,
    SuperBlock,
    BLOCK_SIZE,
    HEADER_CHECKSUM,
    INODE_SIZE, //
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// A block of zeroes.
pub fn zeroed() -> Box<BlockData> {
    Box::new([0; BLOCK_SIZE])
}

/// Reads one block.
pub fn read(device: &dyn Device, block: u64) -> kernel::error::Result<Box<BlockData>> {
    let mut data = zeroed();
    device.read(block, &mut data[..])?;
    Ok(data)
}

/// The `T` at `offset`, if it lies within `data`.
pub fn load<T: FromBytes>(data: &[u8], offset: usize) -> Option<T> {
    let end = offset.checked_add(size_of::<T>())?;
    T::read_from_bytes(data.get(offset..end)?).ok()
}

/// Puts a `T` at `offset`.
///
/// # Panics
///
/// If it does not lie within `data`: offsets come from the layout, never from a disk.
pub fn store<T: IntoBytes + Immutable>(data: &mut [u8], offset: usize, value: &T) {
    data[offset..offset + size_of::<T>()].copy_from_slice(value.as_bytes());
}

/// The header of a block.
pub fn header(data: &BlockData) -> BlockHeader {
    BlockHeader::read_from_prefix(data).map_or_else(|_| unreachable!(), |(header, _)| header)
}

/// CRC32C of `data` with the four bytes at `hole` taken as zero.
fn checksum(seed: u32, data: &[u8], hole: usize) -> u32 {
    let (before, rest) = data.split_at(hole);
    let after = rest.get(4..).unwrap_or_default();
    crc32c(crc32c(crc32c(seed, before), &[0; 4]), after)
}

/// Sets the checksum in the header of a metadata block.
pub fn seal(seed: u32, data: &mut BlockData) {
    let sum = checksum(seed, data, HEADER_CHECKSUM);
    store(data, HEADER_CHECKSUM, &sum.to_le());
}

/// Whether the checksum in the header of a metadata block is right.
pub fn is_sealed(seed: u32, data: &BlockData) -> bool {
    header(data).checksum.get() == checksum(seed, data, HEADER_CHECKSUM)
}

/// Sets the checksum of an inode record.
pub fn seal_inode(seed: u32, raw: &mut RawInode) {
    raw.checksum = checksum(seed, raw.as_bytes(), offset_of!(RawInode, checksum)).into();
}

/// Whether the checksum of an inode record is right.
pub fn is_sealed_inode(seed: u32, raw: &RawInode) -> bool {
    raw.checksum.get() == checksum(seed, raw.as_bytes(), offset_of!(RawInode, checksum))
}

/// The inode record at `offset` of a block of an inode table.
pub fn inode_at(data: &BlockData, slot: usize) -> Option<RawInode> {
    load(data, slot.checked_mul(INODE_SIZE)?)
}

/// The block that holds a super block and its checksum.
pub fn super_block_data(super_block: &SuperBlock) -> Box<BlockData> {
    let mut data = zeroed();
    store(&mut data[..], 0, super_block);
    seal_super(&mut data);
    data
}

/// Sets the checksum in the block of a super block.
pub fn seal_super(data: &mut BlockData) {
    let sum = checksum(!0, data, offset_of!(SuperBlock, checksum));
    store(data, offset_of!(SuperBlock, checksum), &sum.to_le());
}

/// Whether the checksum in the block of a super block is right.
pub fn is_sealed_super(data: &BlockData) -> bool {
    let hole = offset_of!(SuperBlock, checksum);
    load::<[u8; 4]>(data, hole).map(u32::from_le_bytes) == Some(checksum(!0, data, hole))
}
