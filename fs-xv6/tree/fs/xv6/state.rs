// SPDX-License-Identifier: GPL-2.0

//! What xv6 hands to another version that takes over a mounted volume.
//!
//! Little: the volume tells all else. Bitmaps are looked at again when they are first needed, and
//! with that come the counts and the places to look first.

use super::Xv6;
use kernel::{
    bento::{
        Need,
        StateReader,
        StateWriter,
        STATE_RECORD, //
    },
    prelude::*, //
};
use zerocopy::little_endian::{
    U32,
    U64, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// The version of the state.
pub(super) const VERSION: u32 = 1;

/// The record of what must be the same for both.
const VOLUME: u16 = 1;
/// The record of hints.
const HINTS: u16 = 2;

/// What both versions must have read from the volume alike: else the successor is on another one,
/// or takes its fields for something else.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct VolumeRecord {
    groups: U64,
    max_ino: U64,
    journal_start: U64,
    journal_blocks: U64,
    seed: U32,
    pad: U32,
}

/// What makes the successor choose as its predecessor would have.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct HintsRecord {
    /// The group that the last directory in the root directory went to.
    rotor: U64,
}

/// Bytes of all records.
pub(super) const SIZE: usize =
    2 * STATE_RECORD + size_of::<VolumeRecord>() + size_of::<HintsRecord>();

impl Xv6 {
    fn volume_record(&self) -> VolumeRecord {
        VolumeRecord {
            groups: self.geometry.groups().into(),
            max_ino: self.geometry.max_ino().into(),
            journal_start: self.journal.start.into(),
            journal_blocks: self.journal.len.into(),
            seed: self.seed.into(),
            pad: 0.into(),
        }
    }

    /// Writes the state. Nobody else is inside, so no lock is taken.
    pub(super) fn write_state(&self, state: &mut StateWriter<'_>) -> Result {
        state.put(VOLUME, 1, Need::Mandatory, self.volume_record().as_bytes())?;
        let rotor = *self.rotor.try_lock().ok_or(EBUSY)?;
        let hints = HintsRecord {
            rotor: rotor.into(),
        };
        state.put(HINTS, 1, Need::Optional, hints.as_bytes())
    }

    /// Takes the state of a predecessor over.
    pub(super) fn read_state(&mut self, state: &StateReader<'_>) -> Result {
        let volume = state.take(VOLUME).ok_or(EBADMSG)?;
        let theirs = VolumeRecord::read_from_bytes(volume.content).map_err(|_| EBADMSG)?;
        if volume.version != 1 || theirs != self.volume_record() {
            return Err(EBADMSG);
        }
        if let Some(hints) = state.take(HINTS).filter(|hints| hints.version == 1) {
            let hints = HintsRecord::read_from_bytes(hints.content).map_err(|_| EBADMSG)?;
            // A hint from another program: any group of ours will do.
            *self.rotor.get_mut() = hints
                .rotor
                .get()
                .checked_rem(self.geometry.groups())
                .unwrap_or(0);
        }
        Ok(())
    }
}
