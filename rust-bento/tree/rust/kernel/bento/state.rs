// SPDX-License-Identifier: GPL-2.0

//! What one version of a file system hands to the next.
//!
//! This file is compiled in both worlds, see [`types`](super::types). The core begins and ends both
//! sides; a file system puts and takes records.
//!
//! Two versions are two programs that were compiled apart, so nothing of one's memory means
//! anything to the other. What goes across is bytes in a fixed encoding, little-endian:
//!
//! | offset | size | header |
//! |---:|---:|---|
//! | 0 | 4 | magic, `"BtSt"` |
//! | 4 | 2 | version of the encoding, 1 |
//! | 6 | 2 | 0 |
//! | 8 | 4 | version of the state, [`FileSystem::STATE_WRITES`](super::FileSystem) |
//! | 12 | 4 | length of all of it, in bytes |
//! | 16 | 4 | number of records |
//! | 20 | 4 | CRC32C of all of it, this field taken as 0 |
//! | 24 | 32 | format, ended by NUL |
//!
//! and then the records, each aligned to 8 bytes:
//!
//! | offset | size | record |
//! |---:|---:|---|
//! | 0 | 2 | kind |
//! | 2 | 2 | version of the record |
//! | 4 | 2 | flags: 1, who does not know the kind must not go on |
//! | 6 | 2 | 0 |
//! | 8 | 4 | length of the content, in bytes |
//! | 12 | 4 | CRC32C of the 12 bytes before and the content |
//! | 16 | | content, then zeros to the next multiple of 8 |

use super::crc32c;
use crate::error::{
    code::*,
    Result, //
};
use core::cell::Cell;

const MAGIC: u32 = u32::from_le_bytes(*b"BtSt");
const ENCODING: u16 = 1;
/// Size of the header, in bytes.
pub const STATE_HEADER: usize = 56;
/// The greatest [`FileSystem::STATE_SIZE`](super::FileSystem::STATE_SIZE), in bytes.
pub const STATE_SIZE_MAX: usize = 32 * 1024;
/// Size of a record without its content, in bytes.
pub const STATE_RECORD: usize = 16;
const MANDATORY: u16 = 1;
const CHECKSUM: usize = 20;
const FORMAT: usize = 24;
/// Records that a state has at most.
const MAX_RECORDS: u32 = 64;

/// Whether a successor has to know a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It may be passed over: the successor finds out by itself, or does without.
    Optional,
    /// Who does not know it cannot take over.
    Mandatory,
}

/// Takes what a version hands over, see [`FileSystem::export`](super::FileSystem::export). The room
/// was allocated before, and does not grow.
pub struct StateWriter<'a> {
    bytes: &'a mut [u8],
    end: usize,
    records: u32,
    #[cfg(CONFIG_BENTO_TEST_STATE)]
    spoil: Option<fn(&mut [u8], usize) -> usize>,
}

/// Copies `from` to `offset`.
fn put(bytes: &mut [u8], offset: usize, from: &[u8]) -> Result {
    let end = offset.checked_add(from.len()).ok_or(E2BIG)?;
    bytes
        .get_mut(offset..end)
        .ok_or(E2BIG)?
        .copy_from_slice(from);
    Ok(())
}

impl<'a> StateWriter<'a> {
    /// Begins a state of version `version` in `bytes`.
    ///
    /// # Errors
    ///
    /// `E2BIG` if there is no room for the header.
    pub fn new(bytes: &'a mut [u8], format: &str, version: u32) -> Result<Self> {
        bytes.fill(0);
        put(bytes, 0, &MAGIC.to_le_bytes())?;
        put(bytes, 4, &ENCODING.to_le_bytes())?;
        put(bytes, 8, &version.to_le_bytes())?;
        // One byte stays zero.
        put(
            bytes,
            FORMAT,
            format.as_bytes().get(..31.min(format.len())).unwrap_or(&[]),
        )?;
        if bytes.len() < STATE_HEADER {
            return Err(E2BIG);
        }
        Ok(Self {
            bytes,
            end: STATE_HEADER,
            records: 0,
            #[cfg(CONFIG_BENTO_TEST_STATE)]
            spoil: None,
        })
    }

    /// Lets `how` damage the state when it is complete: it is given all the room and the length of
    /// the state, and gives the length that is handed over. For tests of successors; who writes
    /// records can only write a state that is whole.
    #[cfg(CONFIG_BENTO_TEST_STATE)]
    pub fn spoil(&mut self, how: fn(&mut [u8], usize) -> usize) {
        self.spoil = Some(how);
    }

    /// Adds a record: its kind, the version of its content, and the content.
    ///
    /// # Errors
    ///
    /// `E2BIG` if there is no room: the file system's `STATE_SIZE` is too small.
    pub fn put(&mut self, kind: u16, version: u16, need: Need, content: &[u8]) -> Result {
        if self.records >= MAX_RECORDS {
            return Err(E2BIG);
        }
        let len = u32::try_from(content.len()).map_err(|_| E2BIG)?;
        let mut head = [0; STATE_RECORD];
        let flags = match need {
            Need::Optional => 0,
            Need::Mandatory => MANDATORY,
        };
        put(&mut head, 0, &kind.to_le_bytes())?;
        put(&mut head, 2, &version.to_le_bytes())?;
        put(&mut head, 4, &flags.to_le_bytes())?;
        put(&mut head, 8, &len.to_le_bytes())?;
        let sum = record_sum(&head, content);
        put(&mut head, 12, &sum.to_le_bytes())?;
        let start = self.end;
        let at = start.checked_add(STATE_RECORD).ok_or(E2BIG)?;
        let end = at
            .checked_add(content.len())
            .and_then(|end| end.checked_next_multiple_of(8))
            .filter(|&end| end <= self.bytes.len())
            .ok_or(E2BIG)?;
        put(self.bytes, start, &head)?;
        put(self.bytes, at, content)?;
        self.end = end;
        self.records = self.records.saturating_add(1);
        Ok(())
    }

    /// Ends the state. Gives its bytes.
    pub fn finish(self) -> Result<&'a [u8]> {
        let Self {
            bytes,
            end,
            records,
            ..
        } = self;
        let len = u32::try_from(end).map_err(|_| E2BIG)?;
        put(bytes, 12, &len.to_le_bytes())?;
        put(bytes, 16, &records.to_le_bytes())?;
        let state = bytes.get_mut(..end).ok_or(E2BIG)?;
        let sum = crc32c(!0, state);
        put(state, CHECKSUM, &sum.to_le_bytes())?;
        #[cfg(CONFIG_BENTO_TEST_STATE)]
        let end = self.spoil.map_or(end, |spoil| spoil(bytes, end));
        bytes.get(..end).ok_or(E2BIG)
    }
}

/// The sum of a record's head, without the sum itself, and its content.
fn record_sum(head: &[u8], content: &[u8]) -> u32 {
    crc32c(crc32c(!0, head.get(..12).unwrap_or(&[])), content)
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16> {
    let end = offset.checked_add(2).ok_or(EBADMSG)?;
    let bytes = bytes.get(offset..end).ok_or(EBADMSG)?;
    Ok(u16::from_le_bytes(bytes.try_into().map_err(|_| EBADMSG)?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32> {
    let end = offset.checked_add(4).ok_or(EBADMSG)?;
    let bytes = bytes.get(offset..end).ok_or(EBADMSG)?;
    Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| EBADMSG)?))
}

/// A record of a state.
#[derive(Clone, Copy, Debug)]
pub struct StateRecord<'a> {
    /// What it is.
    pub kind: u16,
    /// The version of its content.
    pub version: u16,
    need: Need,
    /// Its content.
    pub content: &'a [u8],
}

/// What a predecessor handed over, see [`FileSystem::import`](super::FileSystem::import). All sums
/// and lengths are right.
pub struct StateReader<'a> {
    bytes: &'a [u8],
    version: u32,
    records: u32,
    /// A bit for each record that was taken, in their order.
    taken: Cell<u64>,
}

impl<'a> StateReader<'a> {
    /// Checks a state that a file system of `format` wrote.
    ///
    /// # Errors
    ///
    /// `EBADMSG` if it is not whole: its length, a sum, a field.
    pub fn new(bytes: &'a [u8], format: &str) -> Result<Self> {
        let header = bytes.get(..STATE_HEADER).ok_or(EBADMSG)?;
        let len = u32_at(header, 12)? as usize;
        let records = u32_at(header, 16)?;
        let name = header.get(FORMAT..).ok_or(EBADMSG)?;
        let same_format = name.len() > format.len()
            && name.starts_with(format.as_bytes())
            && name.iter().skip(format.len()).all(|&b| b == 0);
        if u32_at(header, 0)? != MAGIC
            || u16_at(header, 4)? != ENCODING
            || u16_at(header, 6)? != 0
            || len != bytes.len()
            || records > MAX_RECORDS
            || !same_format
        {
            return Err(EBADMSG);
        }
        let sum = crc32c(!0, header.get(..CHECKSUM).ok_or(EBADMSG)?);
        let sum = crc32c(sum, &[0; 4]);
        let sum = crc32c(sum, bytes.get(CHECKSUM + 4..).ok_or(EBADMSG)?);
        if sum != u32_at(header, CHECKSUM)? {
            return Err(EBADMSG);
        }
        let this = Self {
            bytes,
            version: u32_at(header, 8)?,
            records,
            taken: Cell::new(0),
        };
        let mut rest = this.bytes.get(STATE_HEADER..).ok_or(EBADMSG)?;
        for _ in 0..records {
            rest = Self::split(rest)?.1;
        }
        // Behind the last record there is nothing.
        match rest {
            [] => Ok(this),
            _ => Err(EBADMSG),
        }
    }

    /// The first record in `bytes`, and what follows it.
    fn split(bytes: &'a [u8]) -> Result<(StateRecord<'a>, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(STATE_RECORD).ok_or(EBADMSG)?;
        let (content, rest) = rest
            .split_at_checked(u32_at(head, 8)? as usize)
            .ok_or(EBADMSG)?;
        let padding = content.len().wrapping_neg() % 8;
        let (_, rest) = rest.split_at_checked(padding).ok_or(EBADMSG)?;
        let need = match u16_at(head, 4)? {
            0 => Need::Optional,
            MANDATORY => Need::Mandatory,
            _ => return Err(EBADMSG),
        };
        if u16_at(head, 6)? != 0 || u32_at(head, 12)? != record_sum(head, content) {
            return Err(EBADMSG);
        }
        let record = StateRecord {
            kind: u16_at(head, 0)?,
            version: u16_at(head, 2)?,
            need,
            content,
        };
        Ok((record, rest))
    }

    /// The version of the state.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The records, in their order.
    fn records(&self) -> impl Iterator<Item = (u32, StateRecord<'a>)> {
        let mut rest = self.bytes.get(STATE_HEADER..).unwrap_or(&[]);
        (0..self.records).map_while(move |index| {
            let (record, next) = Self::split(rest).ok()?;
            rest = next;
            Some((index, record))
        })
    }

    /// The first record of this kind that was not taken before.
    ///
    /// A mandatory record that is never taken makes the upgrade fail: the successor did not know
    /// it.
    pub fn take(&self, kind: u16) -> Option<StateRecord<'a>> {
        let taken = self.taken.get();
        let (index, record) = self
            .records()
            .find(|(index, record)| record.kind == kind && taken >> index & 1 == 0)?;
        self.taken.set(taken | 1 << index);
        Some(record)
    }

    /// Whether every mandatory record was taken.
    ///
    /// # Errors
    ///
    /// `EBADMSG` if not.
    pub fn finish(&self) -> Result {
        let missed = |&(index, record): &(u32, StateRecord<'a>)| {
            record.need == Need::Mandatory && self.taken.get() >> index & 1 == 0
        };
        match self.records().find(missed) {
            None => Ok(()),
            Some(_) => Err(EBADMSG),
        }
    }
}
