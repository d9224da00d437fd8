// SPDX-License-Identifier: GPL-2.0

//! The journal's first block: made, and looked at.
//!
//! The format is jbd2's (include/linux/jbd2.h), big-endian: a super block of version 2, CRC32C checksums v3, revoke
//! records, 64-bit block numbers.

use crate::{
    image,
    random, //
};
use kernel::{
    bento::crc32c,
    error::Result,
    user::device::Device, //
};
use xv6::layout::BLOCK_SIZE;
use zerocopy::big_endian::U32;
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

const MAGIC: u32 = 0xc03b_3998;
const SUPER_BLOCK_V2: u32 = 4;
const CRC32C: u8 = 4;

/// Revoke, 64-bit, checksum v3.
const INCOMPAT: u32 = 0x1 | 0x2 | 0x10;

/// `journal_superblock_t`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct JournalSuper {
    magic: U32,
    block_type: U32,
    header_sequence: U32,
    block_size: U32,
    max_len: U32,
    first: U32,
    sequence: U32,
    start: U32,
    errno: U32,
    compat: U32,
    incompat: U32,
    ro_compat: U32,
    uuid: [u8; 16],
    users: U32,
    dynamic_super: U32,
    max_transaction: U32,
    max_transaction_data: U32,
    checksum_type: u8,
    padding: [u8; 3],
    fast_commit_blocks: U32,
    head: U32,
    padding2: [U32; 40],
    checksum: U32,
    user_ids: [[u8; 16]; 48],
}

const _: () = assert!(size_of::<JournalSuper>() == 1024);

impl JournalSuper {
    fn expected_checksum(mut self) -> u32 {
        use zerocopy::IntoBytes;
        self.checksum = 0.into();
        crc32c(!0, self.as_bytes())
    }
}

/// What the journal's first block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing to replay.
    Empty,
    /// Transactions to replay.
    InUse,
    /// The journal was aborted with this error number; there may be something to replay too.
    Aborted(i32),
    /// Not the journal of this volume; the text says what is wrong.
    Damaged(&'static str),
}

/// Writes the super block of an empty journal in `start..start + len`, whatever was there.
///
/// Its next transaction has a random number, so that nothing in the log is taken for a part of it.
pub fn restart(device: &dyn Device, start: u64, len: u64, uuid: [u8; 16]) -> crate::Result {
    let [a, b, c]: [u8; 3] = random::bytes()?;
    let sequence = u32::from_le_bytes([a, b, c, 0]).max(1);
    let mut journal: JournalSuper = zerocopy::FromZeros::new_zeroed();
    journal.magic = MAGIC.into();
    journal.block_type = SUPER_BLOCK_V2.into();
    journal.block_size = (BLOCK_SIZE as u32).into();
    journal.max_len = (len as u32).into();
    journal.first = 1.into();
    journal.sequence = sequence.into();
    journal.incompat = INCOMPAT.into();
    journal.uuid = uuid;
    journal.users = 1.into();
    journal.checksum_type = CRC32C;
    journal.checksum = journal.expected_checksum().into();
    let mut data = image::zeroed();
    image::store(&mut data[..], 0, &journal);
    Ok(device.write(start, &data[..])?)
}

/// Looks at the super block of the journal in `start..start + len`.
pub fn look(device: &dyn Device, start: u64, len: u64) -> Result<State> {
    let data = image::read(device, start)?;
    let Some(journal) = image::load::<JournalSuper>(&data[..], 0) else {
        return Ok(State::Damaged("size"));
    };
    let checks = [
        (journal.magic.get() == MAGIC, "magic"),
        (journal.block_type.get() == SUPER_BLOCK_V2, "block type"),
        (journal.checksum_type == CRC32C, "checksum type"),
        (
            journal.checksum.get() == journal.expected_checksum(),
            "checksum",
        ),
        (
            journal.block_size.get() as usize == BLOCK_SIZE,
            "block size",
        ),
        (u64::from(journal.max_len.get()) == len, "length"),
        (journal.first.get() == 1, "first block"),
        (u64::from(journal.start.get()) < len, "start of the log"),
        (
            journal.compat.get() == 0
                && journal.incompat.get() == INCOMPAT
                && journal.ro_compat.get() == 0,
            "features",
        ),
        (journal.fast_commit_blocks.get() == 0, "fast commit blocks"),
    ];
    if let Some((_, field)) = checks.iter().find(|(good, _)| !good) {
        return Ok(State::Damaged(field));
    }
    Ok(match journal.errno.get() as i32 {
        0 if journal.start.get() == 0 => State::Empty,
        0 => State::InUse,
        errno => State::Aborted(errno),
    })
}
