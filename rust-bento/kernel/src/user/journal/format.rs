// SPDX-License-Identifier: GPL-2.0

//! jbd2's on-disk format, as far as it is in use here: checksum v3, revoke records, 64-bit.
//!
//! All numbers are big-endian. The journal is a ring of blocks behind its super block. A
//! transaction is a run of descriptor blocks, each followed by the blocks that it describes, revoke
//! blocks, and one commit block. C header: `include/linux/jbd2.h`.

use crate::{
    bento::{
        crc32c,
        Block,
        JournalArea, //
    },
    error::{
        code::*,
        Result, //
    },
    pr_err,
    user::{
        device::{
            BlockData,
            Device,
            BLOCK_SIZE, //
        },
        space::Tid, //
    },
};
use zerocopy::big_endian::{
    U32,
    U64, //
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// First four bytes of each of the journal's own blocks.
pub(super) const MAGIC: u32 = 0xc03b_3998;

pub(super) const DESCRIPTOR: u32 = 1;
pub(super) const COMMIT: u32 = 2;
const SUPER_V2: u32 = 4;
pub(super) const REVOKE: u32 = 5;

const INCOMPAT_REVOKE: u32 = 1 << 0;
const INCOMPAT_64BIT: u32 = 1 << 1;
const INCOMPAT_CSUM_V3: u32 = 1 << 4;
/// The features that a journal of ours has: no other is known.
const INCOMPAT: u32 = INCOMPAT_REVOKE | INCOMPAT_64BIT | INCOMPAT_CSUM_V3;
const CHECKSUM_CRC32C: u8 = 4;

/// The least journal, in blocks (`JBD2_MIN_JOURNAL_BLOCKS`).
pub const MIN_BLOCKS: u64 = 1024;

pub(super) const FLAG_ESCAPE: u32 = 1;
pub(super) const FLAG_SAME_UUID: u32 = 2;
pub(super) const FLAG_LAST: u32 = 8;

/// Bytes at a block's end that hold the checksum of a descriptor or revoke block.
const TAIL: usize = 4;
/// Bytes of the journal's UUID behind a tag without [`FLAG_SAME_UUID`].
pub(super) const UUID: usize = 16;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: U32,
    pub(super) kind: U32,
    pub(super) sequence: U32,
}

impl Header {
    pub(super) fn new(kind: u32, tid: Tid) -> Self {
        Self {
            magic: MAGIC.into(),
            kind: kind.into(),
            sequence: tid.into(),
        }
    }
}

/// A block that a descriptor describes (`journal_block_tag3_t`).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Tag {
    pub(super) block_low: U32,
    pub(super) flags: U32,
    pub(super) block_high: U32,
    pub(super) checksum: U32,
}

impl Tag {
    pub(super) fn block(&self) -> Block {
        u64::from(self.block_high.get()) << 32 | u64::from(self.block_low.get())
    }
}

/// Where tags end at the latest, and revoke records.
pub(super) const RECORDS_END: usize = BLOCK_SIZE - TAIL;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct RevokeHeader {
    pub(super) header: Header,
    /// Bytes in use, this header among them.
    pub(super) count: U32,
}

/// Revoke records in a block.
pub(super) const REVOKES_PER_BLOCK: usize =
    (RECORDS_END - size_of::<RevokeHeader>()) / size_of::<U64>();

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct CommitHeader {
    pub(super) header: Header,
    pub(super) checksum_type: u8,
    pub(super) checksum_size: u8,
    pub(super) padding: [u8; 2],
    pub(super) checksum: [U32; 8],
    pub(super) seconds: U64,
    pub(super) nanoseconds: U32,
}

/// The journal's super block: the first 1024 bytes of its block.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct SuperBlock {
    header: Header,
    block_size: U32,
    /// Blocks of the journal, this one among them.
    pub(super) blocks: U32,
    /// First block of the ring.
    pub(super) first: U32,
    /// First transaction that is expected in the ring.
    pub(super) sequence: U32,
    /// Its place, or zero if the journal is empty.
    pub(super) start: U32,
    pub(super) errno: U32,
    compat: U32,
    incompat: U32,
    ro_compat: U32,
    uuid: [u8; 16],
    users: U32,
    dynsuper: U32,
    max_transaction: U32,
    max_trans_data: U32,
    checksum_type: u8,
    padding: [u8; 3],
    fast_commit_blocks: U32,
    head: U32,
    padding2: [U32; 40],
    checksum: U32,
    user_ids: [u8; 768],
}

const _: () = assert!(size_of::<SuperBlock>() == 1024);
const _: () = assert!(size_of::<Tag>() == 16);

impl SuperBlock {
    fn new(area: JournalArea, uuid: [u8; 16]) -> Result<Self> {
        let mut this: Self = zerocopy::FromZeros::new_zeroed();
        this.header = Header::new(SUPER_V2, 0);
        this.block_size = (BLOCK_SIZE as u32).into();
        this.blocks = u32::try_from(area.len)?.into();
        this.first = 1.into();
        // Random, so that what an earlier journal left in the area is not taken for this one's.
        let [a, b, c, ..] = uuid;
        this.sequence = u32::from_be_bytes([0, a, b, c]).max(1).into();
        this.incompat = INCOMPAT.into();
        this.uuid = uuid;
        this.users = 1.into();
        this.checksum_type = CHECKSUM_CRC32C;
        Ok(this)
    }

    /// Reads and checks the super block.
    pub(super) fn read(device: &dyn Device, area: JournalArea) -> Result<Self> {
        let this = Self::read_unchecked(device, area)?;
        match this.check(area) {
            Ok(()) => Ok(this),
            Err(field) => {
                pr_err!("bento: journal super block: bad {field}");
                Err(EUCLEAN)
            }
        }
    }

    fn read_unchecked(device: &dyn Device, area: JournalArea) -> Result<Self> {
        let mut block: BlockData = [0; BLOCK_SIZE];
        device.read(area.start, &mut block)?;
        let (this, _) = Self::read_from_prefix(&block).map_err(|_| EUCLEAN)?;
        Ok(this)
    }

    /// Checks the super block of a journal in `area`; the error names the field.
    fn check(&self, area: JournalArea) -> Result<(), &'static str> {
        let check = |good: bool, field| if good { Ok(()) } else { Err(field) };
        let len = area.len;
        check((MIN_BLOCKS..=u32::MAX.into()).contains(&len), "length")?;
        check(self.header.magic.get() == MAGIC, "magic")?;
        check(self.header.kind.get() == SUPER_V2, "block type")?;
        check(self.checksum_type == CHECKSUM_CRC32C, "checksum type")?;
        check(self.checksum == self.sum(), "checksum")?;
        let features = (self.compat.get(), self.incompat.get(), self.ro_compat.get());
        check(features == (0, INCOMPAT, 0), "features")?;
        check(self.block_size.get() == BLOCK_SIZE as u32, "block size")?;
        check(u64::from(self.blocks.get()) == len, "number of blocks")?;
        check(self.first.get() == 1, "first block")?;
        check(self.start < self.blocks, "start of the log")
    }

    /// Writes the super block, and waits until it is durable.
    pub(super) fn write(&mut self, device: &dyn Device, area: JournalArea) -> Result {
        self.checksum = self.sum();
        let mut block: BlockData = [0; BLOCK_SIZE];
        block[..size_of::<Self>()].copy_from_slice(self.as_bytes());
        device.write(area.start, &block)?;
        device.flush()
    }

    fn sum(&self) -> U32 {
        let mut copy = *self;
        copy.checksum = 0.into();
        crc32c(!0, copy.as_bytes()).into()
    }

    /// The seed of all other checksums in the journal.
    pub(super) fn seed(&self) -> u32 {
        crc32c(!0, &self.uuid)
    }
}

/// What the super block of a journal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing to replay.
    Empty,
    /// Transactions to replay.
    InUse,
    /// The journal was aborted with this error number; there may be something to replay, too.
    Aborted(i32),
    /// It is none; the field that tells.
    Damaged(&'static str),
}

/// Looks at the super block of the journal of `len` blocks at `start`.
pub fn look(device: &dyn Device, start: Block, len: u64) -> Result<State> {
    let area = JournalArea { start, len };
    let this = SuperBlock::read_unchecked(device, area)?;
    Ok(match (this.check(area), this.errno.get() as i32) {
        (Err(field), _) => State::Damaged(field),
        (Ok(()), 0) if this.start.get() == 0 => State::Empty,
        (Ok(()), 0) => State::InUse,
        (Ok(()), errno) => State::Aborted(errno),
    })
}

/// Writes the super block of an empty journal over what was there, and leaves the log as it is: the first
/// transaction has a number, `sequence`, that nothing in the log may have.
pub fn remake(
    device: &dyn Device,
    start: Block,
    len: u64,
    uuid: [u8; 16],
    sequence: u32,
) -> Result {
    let area = JournalArea { start, len };
    let mut this = SuperBlock::new(area, uuid)?;
    this.sequence = sequence.max(1).into();
    this.write(device, area)
}

/// Makes an empty journal of `len` blocks at `start`; the whole area is zeroed.
///
/// # Errors
///
/// `EINVAL` if it is shorter than [`MIN_BLOCKS`]; else those of the device.
pub fn mkjournal(device: &dyn Device, start: Block, len: u64, uuid: [u8; 16]) -> Result {
    if len < MIN_BLOCKS {
        return Err(EINVAL);
    }
    let area = JournalArea { start, len };
    device.zero(start, len)?;
    SuperBlock::new(area, uuid)?.write(device, area)
}

/// The checksum of a descriptor or revoke block, whose tail counts as zero.
pub(super) fn block_sum(seed: u32, block: &[u8]) -> u32 {
    crc32c(crc32c(seed, &block[..RECORDS_END]), &[0; TAIL])
}

pub(super) fn set_block_sum(seed: u32, block: &mut [u8]) {
    let sum = block_sum(seed, block);
    block[RECORDS_END..].copy_from_slice(&sum.to_be_bytes());
}

pub(super) fn block_sum_is_right(seed: u32, block: &[u8]) -> bool {
    block[RECORDS_END..] == block_sum(seed, block).to_be_bytes()
}

/// The checksum of a block in the journal, as its tag has it.
pub(super) fn tag_sum(seed: u32, tid: Tid, block: &[u8]) -> u32 {
    crc32c(crc32c(seed, &tid.to_be_bytes()), block)
}

/// The checksum of a commit block, whose own field counts as zero.
pub(super) fn commit_sum(seed: u32, block: &[u8]) -> u32 {
    const FIELD: usize = core::mem::offset_of!(CommitHeader, checksum);
    let sum = crc32c(seed, &block[..FIELD]);
    let sum = crc32c(sum, &[0; 4]);
    crc32c(sum, &block[FIELD + 4..])
}
